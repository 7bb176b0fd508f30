"""`pinxit reconstruct`: a picture as the decoder draws it again, from all or part of its embedding."""

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
    in_a_row,
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


def reconstruct(
    picture: Annotated[Path, typer.Argument(help="Any picture; its centre square is used.")],
    components: Annotated[
        str | None,
        typer.Option(
            help="Draw it from so many principal components of its embedding, e.g. 4,8,16,32,64, with --seed's noise.",
            show_default="from all, with its own noise",
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
    """Invert a picture to noise and draw it again, or draw it from the first components of its embedding.

    [bold]Examples[/bold]

      pinxit reconstruct fox.png
      pinxit reconstruct fox.png --components 4,8,16,32,64
    """
    given, settings, kept = InputPicture.read(picture), settings_of(changes), _numbers(components)
    inverting = steps_of_inversion(ddim_steps, "with --components" if kept else "")
    painter = manipulator(checkpoint, device)
    about = painter.used_settings(settings, own_noise=not kept)

    def draw(watch: Watch) -> list[tuple[str, Ranked]]:
        how: dict[str, Any] = {"components": kept, "seed": seed, "ddim_steps": inverting, "watch": watch}
        found = painter.reconstruct(given.picture, **how, **settings)
        return in_a_row([f"{one} components" for one in kept] or ["reconstructed"], found, seed)

    facts = {"components": kept, "seed": seed, "ddim_steps": inverting} | painter.recorded(about)
    draw_strip(painter, "reconstruct", [given], draw, facts, upscale, out, as_json)


def _numbers(text: str | None) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        raise UsageError(f"--components must be whole numbers such as 4,8,16, not '{text}'.") from None
