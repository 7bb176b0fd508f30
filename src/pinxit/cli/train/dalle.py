"""`pinxit train dalle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinxit.cli.console import print_lines
from pinxit.cli.options import Device
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
    adapting,
    asked,
    conclude,
    started_from,
)

if TYPE_CHECKING:
    from pinxit.recipes.dalle.presets import DalleConfig
    from pinxit.weights.checkpoint import Checkpoint


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
    from pinxit.recipes.dalle.estimate import table
    from pinxit.recipes.dalle.run import RECIPE, STAGES, TRAINED, DalleRun
    from pinxit.recipes.dalle.stages import train
    from pinxit.training.stop import Stop

    stop = Stop(minutes)
    init = started_from(init_from, RECIPE)
    named = {"data.source": data, "data.pictures": pictures} | adapting(lora, [f"plans.{stage}" for stage in TRAINED])
    config = override(_config(out, preset, None if grow else init), asked(named, changes))
    run, chosen = DalleRun(out, config, device, not quiet, init), stages.split(",") if stages is not None else STAGES
    if dry_run:
        print_lines(*table(run, chosen).splitlines())
        return
    conclude(run, train(run, chosen, stop))


def _config(out: Path, preset: str | None, init: Checkpoint | None) -> DalleConfig:
    """The run's own config, or a preset's with the models of `init` put in."""
    from pinxit.recipes.dalle import presets
    from pinxit.recipes.dalle.run import RECIPE
    from pinxit.training import runs

    if preset is None and (out / runs.FILE).is_file():
        return runs.config_of(out, RECIPE, presets.DalleConfig)
    config = presets.preset(preset or "tiny")
    return config if init is None else presets.with_models(config, init)
