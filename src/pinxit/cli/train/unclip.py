"""`pinxit train unclip`."""

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


def train_unclip(
    out: RunFolder,
    preset: Annotated[
        str | None, typer.Option(help="nano, tiny or paper.", show_default="the run's own, else tiny")
    ] = None,
    data: Captioned = None,
    pictures: Pictures = None,
    clip: Annotated[
        str | None,
        typer.Option(
            help="The CLIP, of any width: a shipped name, a folder, published weights or hub:OWNER/NAME.",
            show_default="the preset's",
        ),
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="Only these, e.g. prior,checkpoint.", show_default="all, in order")
    ] = None,
    changes: Changes = None,
    minutes: Minutes = None,
    init_from: InitFrom = None,
    lora: Lora = None,
    device: Device = "auto",
    engine: EngineOption = EngineChoice.local,
    workers: Workers = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train unCLIP (DALL-E 2): pictures, texts, vectors, space, priors, decoder, checkpoint; its CLIP stays frozen.

    [bold]Examples[/bold]

      pinxit train unclip --preset tiny --init-from imagen-tiny --out runs/unclip
      pinxit train unclip --preset paper --out runs/unclip --dry-run
      pinxit train unclip --init-from karlo-v1-alpha --lora 16 \\
          --data my-pictures --out runs/mine
      pinxit train unclip --out runs/unclip --set priors.prior.plan.images=2000000
    """
    from pinxit.errors import UsageError
    from pinxit.recipes.karlo import run as karlo
    from pinxit.recipes.karlo.published import RECIPE as KARLO
    from pinxit.recipes.karlo.stages import train as train_karlo
    from pinxit.recipes.unclip import presets
    from pinxit.recipes.unclip.estimate import table
    from pinxit.recipes.unclip.run import BASE, RECIPE, UnclipRun
    from pinxit.recipes.unclip.stages import train
    from pinxit.training.runs import is_run_of
    from pinxit.training.stop import Stop

    stop = Stop(minutes)
    init = open_init_from(init_from, RECIPE, BASE, KARLO)  # an Imagen's base becomes the decoder
    if (init is not None and init.recipe == KARLO) or is_run_of(out, KARLO):
        if preset is not None or clip is not None:
            raise UsageError("--preset and --clip are not for a Karlo, which has networks and a CLIP of its own.")
        asked_of = config_changes({"data.source": data, "pictures": pictures}, changes)
        run = karlo.run_of(out, init, lora, asked_of, device, not quiet)
        if not dry_run and by_ray(engine, workers, out, run.config, quiet):
            return
        run_stages(run, stages, train_karlo, stop, karlo.table if dry_run else None)
        return
    config = config_of(out, preset, RECIPE, presets, init)
    if clip is not None:
        config = presets.with_clip(config, clip)
    named = {"data.source": data, "decoder.pictures": pictures}
    networks = ["decoder", *(f"priors.{prior.name}" for prior in config.priors)]
    networks += [f"upsamplers.{one.name}" for one in config.upsamplers]
    named |= lora_changes(lora, [f"{network}.plan" for network in networks])
    config = presets.changed(config, config_changes(named, changes))
    if not dry_run and by_ray(engine, workers, out, config, quiet):
        return
    run_stages(UnclipRun(out, config, device, not quiet, init), stages, train, stop, table if dry_run else None)
