"""`pinxit train clip`."""

from __future__ import annotations

from typing import Annotated

import typer

from pinxit.cli.open_clip import activation_of
from pinxit.cli.options import Device, EngineChoice, EngineOption
from pinxit.cli.train.by_ray import Workers, by_ray
from pinxit.cli.train.options import (
    Changes,
    InitFrom,
    Lora,
    Minutes,
    Pictures,
    Quiet,
    RunFolder,
    conclude,
    config_changes,
    lora_changes,
    open_init_from,
)


def train_clip(
    out: RunFolder,
    preset: Annotated[
        str | None,
        typer.Option(
            help="nano, tiny, labels, gpu-small, or a published shape (ViT-B/32).",
            show_default="the run's own, else tiny",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A world, fashion-mnist, drawings:small, a folder of pictures with .txt captions, or tar shards."
        ),
    ] = None,
    pictures: Pictures = None,
    stages: Annotated[str | None, typer.Option(help="Only these, e.g. clip,checkpoint.", show_default="all")] = None,
    changes: Changes = None,
    minutes: Minutes = None,
    init_from: InitFrom = None,
    lora: Lora = None,
    activation: Annotated[
        str | None, typer.Option(help="gelu or quickgelu, for weights that do not say which.")
    ] = None,
    device: Device = "auto",
    engine: EngineOption = EngineChoice.local,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Train CLIP on pictures with captions: pictures, tokenizer, clip, checkpoint.

    A batch may be larger than memory: with --set piece=64 only 64 rows are held at a time, with the same gradients.

    [bold]Examples[/bold]

      pinxit train clip --preset tiny --data world:small --out runs/clip
      pinxit train clip --preset tiny --data my-pictures --out runs/mine \\
          --set plan.batch=1024 --set piece=64
      pinxit train clip --init-from ViT-B-32.pt --lora 16 --data catalogue \\
          --out runs/adapted
      pinxit train clip --init-from tiny --lora 16 --data my-pictures \\
          --out runs/adapted
    """
    from pinxit.config import override
    from pinxit.recipes.clip import presets
    from pinxit.recipes.clip.run import RECIPE, STAGES, ClipRun, train
    from pinxit.training import runs
    from pinxit.training.stop import Stop

    stop = Stop(minutes)
    init = open_init_from(init_from, RECIPE, "dalle", activation=activation_of(activation))
    if preset is None and (out / runs.FILE).is_file():
        config = runs.config_of(out, RECIPE, presets.ClipRunConfig)
    else:
        config = presets.preset("tiny" if preset is None else preset)
        config = config if init is None else presets.with_model(config, init)
    named = {"data.source": data, "data.pictures": pictures} | lora_changes(lora, ["plan"])
    config = override(config, config_changes(named, changes))
    if by_ray(engine, workers, out, config, quiet):
        return
    run = ClipRun(out, config, device, not quiet, init)
    conclude(run, train(run, stages.split(",") if stages is not None else STAGES, stop))
