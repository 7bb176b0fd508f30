"""`pinxit train classifier`."""

from __future__ import annotations

from typing import Annotated

import typer

from pinxit.cli.options import Changes, Device, Minutes, Pictures, Quiet, RunFolder


def train_classifier(
    out: RunFolder,
    data: Annotated[
        str | None, typer.Option(help="Labelled pictures: fashion-mnist[:FOLDER], drawings:small or drawings:full.")
    ] = None,
    pictures: Pictures = None,
    changes: Changes = None,
    minutes: Minutes = None,
    device: Device = "auto",
    quiet: Quiet = False,
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
