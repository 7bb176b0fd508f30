"""`pinxit shift`: text diffs, which change a picture as one caption changes to another."""

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
from pinxit.cli.paint_options import AsJson

if TYPE_CHECKING:
    from pinxit.recipes.jobs import Watch
    from pinxit.types import Ranked


def shift(
    picture: Annotated[Path, typer.Argument(help="Any picture; its centre square is used.")],
    before: Annotated[str, typer.Argument(metavar="FROM", help='What it shows, e.g. "a photo of a fox".')],
    after: Annotated[str, typer.Argument(metavar="TO", help='What it should show, e.g. "a photo of a red fox".')],
    theta: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="How far the last picture is shifted; best from 0.25 to 0.5.")
    ] = 0.5,
    steps: Annotated[int, typer.Option(min=2, max=1000, help="How many pictures; the first is not shifted.")] = 5,
    ddim_steps: DdimSteps = None,
    upscale: Upscale = None,
    out: Out = Path("pinxit-out"),
    as_json: AsJson = False,
    checkpoint: CheckpointOption = DEFAULT,
    device: Device = "auto",
) -> None:
    """Rotate a picture's CLIP embedding towards the difference of two captions, and draw it from the same noise.

    [bold]Examples[/bold]

      pinxit shift fox.png "a photo of a fox" "a photo of a red fox"
      pinxit shift house.png "a house in summer" "a house in winter" --theta 0.35
    """
    given, inverting = InputPicture.read(picture), steps_of_inversion(ddim_steps)
    painter = manipulator(checkpoint, device)

    def draw(watch: Watch) -> list[tuple[str, Ranked]]:
        how: dict[str, Any] = {"most": theta, "count": steps, "ddim_steps": inverting, "watch": watch}
        found = painter.shift(given.picture, before, after, **how)
        return in_a_row((f"{theta * place / (steps - 1):.3f}" for place in range(steps)), found)

    facts = {"from": before, "to": after, "theta": theta, "count": steps, "ddim_steps": inverting}
    draw_strip(painter, "shift", [given], draw, facts, upscale, out, as_json, columns=steps + 1)
