"""`pinxit train judge`: the detector that recognises what is in a picture of the world."""

from __future__ import annotations

from typing import Annotated

import typer

from pinxit.cli.console import print_lines
from pinxit.cli.options import LARGEST, Device, EngineChoice, EngineOption
from pinxit.cli.train.by_ray import Workers, by_ray
from pinxit.cli.train.options import Changes, RunFolder


def train_judge(
    out: RunFolder,
    data: Annotated[
        str, typer.Option(help="world:small, :gallery or :full; only for these is it known what pictures show.")
    ] = ("world:small"),
    images: Annotated[int, typer.Option(min=1, help="How many renders to train on.")] = 300_000,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST, help="Of the initial weights and the order of the renders.")
    ] = 0,
    init_from: Annotated[
        str | None, typer.Option(help="Start from the weights of a judge: a shipped name or a folder.")
    ] = None,
    changes: Changes = None,
    device: Device = "auto",
    engine: EngineOption = EngineChoice.local,
    workers: Workers = None,
) -> None:
    """Train the judge of `pinxit eval world` on renders of the world.

    [bold]Examples[/bold]

      pinxit train judge --data world:small --out runs/judge
      pinxit eval world --judge-only --judge runs/judge/judge
    """
    from pinxit.config import override
    from pinxit.recipes.judge.judge import RECIPE, config_for, parse_world, train
    from pinxit.training.parallel import join_ranks
    from pinxit.weights.checkpoint import open_checkpoint
    from pinxit.weights.zoo import find

    config = override(config_for(parse_world(data), images), [f"seed={seed}", *(changes or [])])
    init = None if init_from is None else open_checkpoint(find(init_from), RECIPE)
    if by_ray(engine, workers, out, config):
        return
    outcome, folder = train(config, out, device, init=init)
    if outcome.signalled:
        raise typer.Exit(130)
    if outcome.finished and join_ranks().lead:
        print_lines(str(folder))
