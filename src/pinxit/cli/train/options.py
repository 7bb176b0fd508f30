"""What the training verbs share: their options, how a run's config is found, and how the run is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from pinxit.cli.console import print_lines

if TYPE_CHECKING:
    from pinxit.models.layers import Activation
    from pinxit.recipes.published import Start
    from pinxit.recipes.staging import Run, RunOutcome
    from pinxit.training.stop import Stop

C = TypeVar("C")
R = TypeVar("R", bound="Run[Any]")

RunFolder = Annotated[Path, typer.Option(help="Run folder; training resumes from what is there.")]
Captioned = Annotated[
    str | None,
    typer.Option(help="world:small, :gallery or :full, a folder of pictures with .txt captions, or tar shards."),
]
Pictures = Annotated[int | None, typer.Option(min=1, help="How many pictures of the data to store and use.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a field, e.g. plan.lr=5e-4 or seed=1; may be repeated.")
]
InitFrom = Annotated[
    list[str] | None,
    typer.Option(
        help="Start from a checkpoint (a shipped name, a folder) or published weights (a path, hub:OWNER/NAME); once "
        "for each stage of DeepFloyd IF."
    ),
]
Lora = Annotated[
    int | None,
    typer.Option(min=1, help="With --init-from: train LoRA weights of this rank, and freeze all others."),
]
Minutes = Annotated[
    float | None, typer.Option(min=0.0, help="Save and stop after so many minutes; the same command resumes.")
]
DryRun = Annotated[bool, typer.Option(help="Print parameters, operations, memory and time; train nothing.")]
Quiet = Annotated[bool, typer.Option(help="No progress on stderr.")]


def config_changes(fields: Mapping[str, Any], changes: Sequence[str] | None) -> list[str]:
    """Changes for `config.override`: the fields whose option was given, then those of --set.

    Raises UsageError for a field that both give, with different values; --lora is of all networks, of which --set may
    take some out.
    """
    from pinxit.errors import UsageError

    given = {name: str(value) for name, value in fields.items() if value is not None}
    for change in changes or ():
        name, _, value = change.partition("=")
        if given.get(name, value) != value and not name.endswith("lora"):
            raise UsageError(f"--set {change} contradicts the option that sets {name} to {given[name]}: leave one out.")
    return [f"{name}={value}" for name, value in given.items()] + list(changes or [])


def lora_changes(rank: int | None, plans: Sequence[str]) -> dict[str, Any]:
    """The fields that --lora sets: the LoRA rank of each plan."""
    return {f"{plan}.lora": rank for plan in plans}


class Presets(Protocol[C]):
    """The module `presets` of a recipe."""

    def preset(self, name: str) -> C: ...

    def with_models(self, config: C, checkpoint: Start, /) -> C: ...


def config_of(out: Path, preset: str | None, recipe: str, presets: Presets[C], init: Start | None) -> C:
    """The run's own config if no preset is named, else a preset's with the models of `init`."""
    from pinxit.training import runs

    config = presets.preset("tiny" if preset is None else preset)
    if preset is None and (out / runs.FILE).is_file():
        return runs.config_of(out, recipe, type(config))
    return config if init is None else presets.with_models(config, init)


def open_init_from(names: Sequence[str] | None, *recipes: str, activation: Activation | None = None) -> Start | None:
    """The checkpoint or published weights that --init-from names.

    Raises CheckpointError when there are none of these recipes, UsageError for an `activation` of no weights or of
    weights that state another one.
    """
    from pinxit.errors import CheckpointError, UsageError
    from pinxit.models.clip import CLIPConfig
    from pinxit.recipes.initial_weights import open_start
    from pinxit.weights.public_clip import check_activation

    if not names:
        if activation is not None:
            raise UsageError("--activation is of the weights that training starts from: name them by --init-from.")
        return None
    checkpoint = open_start(names, activation)
    if checkpoint.recipe not in recipes:
        which = f"neither {' nor '.join(recipes)}" if len(recipes) > 1 else f"not {recipes[0]}"
        raise CheckpointError(f"{checkpoint.folder} holds a checkpoint of {checkpoint.recipe}, {which}.")
    if activation is not None:
        check_activation(activation, checkpoint.config("clip", CLIPConfig).activation, checkpoint.folder)
    return checkpoint


def run_stages(
    run: R,
    stages: str | None,
    train: Callable[[R, Sequence[str] | None, Stop], RunOutcome],
    stop: Stop,
    table: Callable[[R, Sequence[str] | None], str] | None = None,
) -> None:
    """Train the `stages` named with commas between them (None: all), or with `table` print what they would cost."""
    chosen = None if stages is None else stages.split(",")
    if table is not None:
        print_lines(*table(run, chosen).splitlines())
        return
    conclude(run, train(run, chosen, stop))


def conclude(run: Run[Any], ended: RunOutcome) -> None:
    """Print the path of the checkpoint once all is done; exit with 130 if Ctrl-C ended it."""
    from pinxit.training.parallel import join_ranks

    if ended.signalled:
        raise typer.Exit(130)
    if not ended.stopped and "checkpoint" in ended.finished and join_ranks().lead:
        print_lines(str(run.path("checkpoint")))
