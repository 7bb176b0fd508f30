"""What the verbs that train share: their options, what these change of a config, and how a sitting ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.console import print_lines

if TYPE_CHECKING:
    from pinxit.recipes.staging import Ended, Run
    from pinxit.weights.checkpoint import Checkpoint

RunFolder = Annotated[Path, typer.Option(help="Run folder; training goes on from whatever is there.")]
Captioned = Annotated[
    str | None,
    typer.Option(help="world:small, :gallery or :full, a folder of pictures with .txt captions, or tar shards."),
]
Pictures = Annotated[int | None, typer.Option(min=1, help="How many pictures of the data to store and use.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a field, e.g. plan.lr=5e-4 or seed=1; may be repeated.")
]
InitFrom = Annotated[
    str | None, typer.Option(help="Start from the models of a checkpoint: a shipped name or a folder.")
]
Lora = Annotated[
    int | None,
    typer.Option(min=1, help="With --init-from: train additions of this rank and leave the weights as they are."),
]
Minutes = Annotated[
    float | None, typer.Option(min=0.0, help="Save and stop after so many minutes; the same command goes on.")
]
DryRun = Annotated[bool, typer.Option(help="Print parameters, operations, memory and time; train nothing.")]
Quiet = Annotated[bool, typer.Option(help="No progress on stderr.")]


def asked(fields: Mapping[str, Any], changes: Sequence[str] | None) -> list[str]:
    """What `config.override` is to change: the fields whose option was given, then whatever --set says."""
    return [f"{name}={value}" for name, value in fields.items() if value is not None] + list(changes or [])


def adapting(rank: int | None, plans: Sequence[str]) -> dict[str, Any]:
    """The fields that --lora changes: of each of the plans its rank."""
    return {f"{plan}.lora": rank for plan in plans}


def started_from(name: str | None, recipe: str | None) -> Checkpoint | None:
    """The checkpoint that --init-from names. Raises CheckpointError when there is none, or none of `recipe`."""
    from pinxit.weights.checkpoint import open_checkpoint
    from pinxit.weights.zoo import find

    return None if name is None else open_checkpoint(find(name), recipe)


def conclude(run: Run[Any], ended: Ended) -> None:
    """Print where the checkpoint lies once all is done; exit with 130 where Ctrl-C ended the sitting."""
    from pinxit.training.parallel import here

    if ended.signalled:
        raise typer.Exit(130)
    if not ended.stopped and "checkpoint" in ended.finished and here().lead:
        print_lines(str(run.path("checkpoint")))
