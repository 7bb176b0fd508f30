"""`pinxit train classifier`."""

from __future__ import annotations

from typing import Annotated

import typer

from pinxit.cli.options import Device, EngineChoice, EngineOption
from pinxit.cli.train.by_ray import Workers, by_ray
from pinxit.cli.train.options import Changes, Minutes, Pictures, Quiet, RunFolder, conclude, config_changes


def train_classifier(
    out: RunFolder,
    data: Annotated[
        str | None, typer.Option(help="Labelled pictures: fashion-mnist[:FOLDER], drawings:small or drawings:full.")
    ] = None,
    pictures: Pictures = None,
    changes: Changes = None,
    minutes: Minutes = None,
    device: Device = "auto",
    engine: EngineOption = EngineChoice.local,
    workers: Workers = None,
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
    config = override(config, config_changes({"source": data, "pictures": pictures}, changes))
    if by_ray(engine, workers, out, config, quiet):
        return
    run = ClassifierRun(out, config, device, not quiet)
    conclude(run, train(run, stop=stop))
