"""`pinxit train dalle`."""

from __future__ import annotations

from typing import Annotated

import typer

from pinxit.cli.options import Device, EngineChoice, EngineOption
from pinxit.cli.train.by_ray import Workers, by_ray
from pinxit.cli.train.options import (
    Captioned,
    Changes,
    DryRun,
    InitFrom,
    Lora,
    Minutes,
    Pictures,
    Quiet,
    RunFolder,
    config_changes,
    config_of,
    lora_changes,
    open_init_from,
    run_stages,
)


def train_dalle(
    out: RunFolder,
    preset: Annotated[
        str | None, typer.Option(help="nano, tiny, gpu-small or paper.", show_default="the run's own, else tiny")
    ] = None,
    data: Captioned = None,
    pictures: Pictures = None,
    stages: Annotated[
        str | None, typer.Option(help="Only these, e.g. dvae,codes.", show_default="all, in order")
    ] = None,
    changes: Changes = None,
    minutes: Minutes = None,
    init_from: InitFrom = None,
    lora: Lora = None,
    grow: Annotated[
        bool, typer.Option(help="With --init-from: keep the preset's models and tokens, and carry over what fits.")
    ] = False,
    device: Device = "auto",
    engine: EngineOption = EngineChoice.local,
    workers: Workers = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train DALL-E: pictures, tokenizer, dVAE, codes, transformer, CLIP, checkpoint.

    [bold]Examples[/bold]

      pinxit train dalle --preset tiny --data world:small --out runs/tiny
      pinxit train dalle --preset gpu-small --out runs/big --dry-run
      pinxit train dalle --out runs/tiny --set plans.transformer.images=2000000
    """
    from pinxit.config import override
    from pinxit.errors import UsageError
    from pinxit.recipes.dalle import presets
    from pinxit.recipes.dalle.estimate import table
    from pinxit.recipes.dalle.run import RECIPE, TRAINED, DalleRun
    from pinxit.recipes.dalle.stages import train
    from pinxit.recipes.warm_start import read_start
    from pinxit.training.stop import Stop

    stop = Stop(minutes)
    init = open_init_from(init_from, RECIPE)
    if grow and init is None:
        raise UsageError("--grow carries over what fits of a checkpoint: name one by --init-from.")
    grows = grow or read_start(out).get("grow", False)
    config = config_of(out, preset, RECIPE, presets, None if grows else init)
    named = {"data.source": data, "data.pictures": pictures} | lora_changes(
        lora, [f"plans.{stage}" for stage in TRAINED]
    )
    config = override(config, config_changes(named, changes))
    if not dry_run and by_ray(engine, workers, out, config, quiet):
        return
    run_stages(DalleRun(out, config, device, not quiet, init, grow), stages, train, stop, table if dry_run else None)
