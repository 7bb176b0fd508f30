"""`pinxit train imagen`."""

from __future__ import annotations

from typing import Annotated

import typer

from pinxit.cli.options import Changes, Device, Minutes, Pictures, Quiet, RunFolder


def train_imagen(
    out: RunFolder,
    preset: Annotated[
        str | None, typer.Option(help="nano, tiny or tiny-learned.", show_default="the run's own, else tiny")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="world:small, world:full, a folder of pictures with .txt captions, or tar shards."),
    ] = None,
    pictures: Pictures = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            help="Who reads the captions: minilm (needs pinxit[imagen]), a folder in the transformers layout, "
            "or hub:OWNER/NAME.",
            show_default="the preset's",
        ),
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="Only these, e.g. base,checkpoint.", show_default="all, in order")
    ] = None,
    changes: Changes = None,
    minutes: Minutes = None,
    device: Device = "auto",
    dry_run: Annotated[
        bool, typer.Option(help="Print parameters, operations, memory and time; train nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train Imagen: pictures, base, upsampler, checkpoint; the language model that reads the captions stays frozen.

    [bold]Examples[/bold]

      pinxit train imagen --preset tiny --data world:small --out runs/imagen
      pinxit train imagen --preset tiny --out runs/imagen --dry-run
      pinxit train imagen --preset tiny --text-encoder hub:google/t5-v1_1-base --out runs/t5
      pinxit train imagen --out runs/imagen --set plans.base.images=2000000
    """
    from pinxit.config import override
    from pinxit.recipes.imagen import presets
    from pinxit.recipes.imagen.estimate import table
    from pinxit.recipes.imagen.run import RECIPE, STAGES, ImagenRun
    from pinxit.recipes.imagen.stages import train
    from pinxit.training import runs
    from pinxit.training.stop import Stop

    stop = Stop(minutes)
    if preset is None and (out / runs.FILE).is_file():
        config = runs.config_of(out, RECIPE, presets.ImagenConfig)
    else:
        config = presets.preset(preset or "tiny")
    named = {"data.source": data, "data.pictures": pictures, "text.encoder": text_encoder}
    asked = [f"{name}={value}" for name, value in named.items() if value is not None]
    config = override(config, asked + (changes or []))
    if dry_run:
        typer.echo(table(config, device, out))
        return
    run = ImagenRun(out, config, device, not quiet)
    ended = train(run, stages.split(",") if stages else STAGES, stop)
    if ended.signalled:
        raise typer.Exit(130)
    if not ended.stopped and "checkpoint" in ended.finished:
        typer.echo(str(run.path("checkpoint")))
