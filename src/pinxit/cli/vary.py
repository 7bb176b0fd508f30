"""`pinxit vary`: variations of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.manipulation import (
    DEFAULT,
    CheckpointOption,
    DdimSteps,
    InputPicture,
    Out,
    Upscale,
    draw_strip,
    manipulator,
    steps_of_inversion,
)
from pinxit.cli.options import Device
from pinxit.cli.paint_options import AsJson, Seed
from pinxit.cli.painter_settings import Changes, settings_of
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.jobs import Watch
    from pinxit.types import Ranked


def vary(
    picture: Annotated[Path, typer.Argument(help="Any picture; its centre square is used.")],
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many variations.")] = 4,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Draw so many, and keep the --count most similar to the picture, as CLIP ranks them.",
            show_default="as many as --count",
        ),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Start from the picture's own noise, and add noise by this DDIM eta: 0 draws the picture again.",
            show_default="noise of the seed alone",
        ),
    ] = None,
    seed: Seed = 0,
    ddim_steps: DdimSteps = None,
    changes: Changes = None,
    upscale: Upscale = None,
    out: Out = Path("pinxit-out"),
    as_json: AsJson = False,
    checkpoint: CheckpointOption = DEFAULT,
    device: Device = "auto",
) -> None:
    """Draw pictures with the same CLIP embedding, which differ in what CLIP does not encode.

    [bold]Examples[/bold]

      pinxit vary fox.png
      pinxit vary fox.jpg --count 8 --seed 7
      pinxit vary fox.png --candidates 16
      pinxit vary fox.png --eta 0.4
    """
    if candidates is not None and candidates < count:
        raise UsageError(f"--candidates {candidates} is less than --count {count}: draw as many or more.")
    given, settings = InputPicture.read(picture), settings_of(changes)
    inverting = steps_of_inversion(ddim_steps, "" if eta is not None else "without --eta")
    painter = manipulator(checkpoint, device)
    about = painter.used_settings(settings, own_noise=eta is not None)

    def draw(watch: Watch) -> list[tuple[str, Ranked]]:
        how: dict[str, Any] = {"candidates": candidates, "eta": eta, "ddim_steps": inverting, "watch": watch}
        found = painter.vary(given.picture, count=count, seed=seed, **how, **settings)
        return [(f"{one.score:.3f}  candidate {one.candidate}", one) for one in found]

    drawn = {"count": count, "candidates": candidates or count}
    facts = drawn | {"eta": eta, "seed": seed, "ddim_steps": inverting} | painter.recorded(about)
    draw_strip(painter, "vary", [given], draw, facts, upscale, out, as_json)
