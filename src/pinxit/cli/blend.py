"""`pinxit blend`: pictures that interpolate between two."""

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

if TYPE_CHECKING:
    from pinxit.recipes.jobs import Watch
    from pinxit.types import Ranked


def blend(
    one: Annotated[Path, typer.Argument(help="The picture to begin with.")],
    other: Annotated[Path, typer.Argument(help="The picture to end with.")],
    steps: Annotated[int, typer.Option(min=2, max=1000, help="How many pictures to draw, both ends included.")] = 8,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Draw all from the noise of --seed instead of interpolating the pictures' own."),
    ] = False,
    seed: Seed = 0,
    ddim_steps: DdimSteps = None,
    changes: Changes = None,
    upscale: Upscale = None,
    out: Out = Path("pinxit-out"),
    as_json: AsJson = False,
    checkpoint: CheckpointOption = DEFAULT,
    device: Device = "auto",
) -> None:
    """Draw pictures that lead from one to another; the first and the last are reconstructions of the two.

    [bold]Examples[/bold]

      pinxit blend fox.png snowman.png --steps 8
      pinxit blend fox.png snowman.png --fresh --seed 3
    """
    ends, settings = [InputPicture.read(one), InputPicture.read(other)], settings_of(changes)
    inverting = steps_of_inversion(ddim_steps, "with --fresh" if fresh else "")
    painter = manipulator(checkpoint, device)
    about = painter.used_settings(settings, own_noise=not fresh)

    def draw(watch: Watch) -> list[tuple[str, Ranked]]:
        first, last = (end.picture for end in ends)
        how: dict[str, Any] = {"count": steps, "fresh": fresh, "seed": seed, "ddim_steps": inverting, "watch": watch}
        found = painter.blend(first, last, **how, **settings)
        return in_a_row((f"{place / (steps - 1):.2f}" for place in range(steps)), found, seed)

    facts = {"count": steps, "fresh": fresh, "seed": seed, "ddim_steps": inverting} | painter.recorded(about)
    draw_strip(painter, "blend", ends, draw, facts, upscale, out, as_json, columns=steps + 2)
