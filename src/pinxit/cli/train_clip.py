"""`pinxit train clip`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train_clip(
    out: Annotated[Path, typer.Option(help="Run folder; training goes on from whatever is there.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="nano, tiny, gpu-small, or a published shape (ViT-B/32). [default: the run's own, else tiny]"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="world:small, world:full, a folder of pictures with .txt captions, or tar shards."),
    ] = None,
    pictures: Annotated[int | None, typer.Option(min=1, help="How many pictures of the data to store and use.")] = None,
    stages: Annotated[str | None, typer.Option(help="Only these, e.g. clip,checkpoint. [default: all]")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field, e.g. plan.batch=1024; may be repeated.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Save and stop after so many minutes; the same command goes on.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: Annotated[bool, typer.Option(help="No progress on stderr.")] = False,
) -> None:
    """Train CLIP on pictures with captions: pictures, tokenizer, clip, checkpoint.

    A batch may be larger than memory: with --set piece=64 only 64 rows are held at a time, the gradients stay the same.

    [bold]Examples[/bold]

      pinxit train clip --preset tiny --data world:small --out runs/clip
      pinxit train clip --preset tiny --data my-pictures --out runs/mine --set plan.batch=1024 --set piece=64
    """
    from pinxit.config import override
    from pinxit.recipes.clip import presets
    from pinxit.recipes.clip.run import RECIPE, STAGES, ClipRun, train
    from pinxit.training import runs
    from pinxit.training.stop import Stop

    stop = Stop(minutes)
    if preset is None and (out / runs.FILE).is_file():
        config = runs.config_of(out, RECIPE, presets.ClipRunConfig)
    else:
        config = presets.preset(preset or "tiny")
    asked = [] if data is None else [f"data.source={data}"]
    asked += [] if pictures is None else [f"data.pictures={pictures}"]
    run = ClipRun(out, override(config, asked + (changes or [])), device, not quiet)
    ended = train(run, stages.split(",") if stages else STAGES, stop)
    if ended.signalled:
        raise typer.Exit(130)
    if not ended.stopped and "checkpoint" in ended.finished:
        typer.echo(str(run.path("checkpoint")))
