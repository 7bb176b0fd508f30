"""`pinxit train classifier`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train_classifier(
    out: Annotated[Path, typer.Option(help="Run folder; training goes on from whatever is there.")],
    data: Annotated[
        str | None, typer.Option(help="Labelled pictures: fashion-mnist[:FOLDER], drawings:small or drawings:full.")
    ] = None,
    pictures: Annotated[int | None, typer.Option(min=1, help="How many pictures of the data to store and use.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field, e.g. plan.images=100000; may be repeated.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Save and stop after so many minutes; the same command goes on.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: Annotated[bool, typer.Option(help="No progress on stderr.")] = False,
) -> None:
    """Train a supervised ResNet-18 on labelled pictures: what a zero-shot CLIP is measured against.

    [bold]Example[/bold]

      pinxit train classifier --data fashion-mnist --out runs/resnet
    """
    from pinxit.config import override
    from pinxit.recipes.classifier import RECIPE, ClassifierConfig, ClassifierRun, train
    from pinxit.training import runs
    from pinxit.training.stop import Stop

    stop = Stop(minutes)
    started = (out / runs.FILE).is_file()
    config = runs.config_of(out, RECIPE, ClassifierConfig) if started else ClassifierConfig()
    asked = [] if data is None else [f"source={data}"]
    asked += [] if pictures is None else [f"pictures={pictures}"]
    run = ClassifierRun(out, override(config, asked + (changes or [])), device, not quiet)
    ended = train(run, stop=stop)
    if ended.signalled:
        raise typer.Exit(130)
    if not ended.stopped:
        typer.echo(str(run.path("checkpoint")))
