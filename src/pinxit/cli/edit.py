"""`pinxit edit`: repaint part of a picture, or extend it beyond its edges."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.console import warn
from pinxit.cli.manipulation import DEFAULT, CheckpointOption, InputPicture, Upscale, enlarger, manipulator
from pinxit.cli.options import Device
from pinxit.cli.paint_options import AsJson, Candidates, Guidance, Keep, Out, Seed, Strict, sides_of, warn_about_prompt
from pinxit.cli.painter_settings import Changes, settings_of
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.jobs import Watch
    from pinxit.types import Mask, Picture, Ranked


def edit(
    picture: Annotated[Path, typer.Argument(help="Any picture, of any size, which the results have too.")],
    prompt: Annotated[str, typer.Argument(help="What the whole picture should show afterwards.")],
    mask: Annotated[
        Path | None, typer.Option(help="A picture of the same size in black and white: white is painted, black stays.")
    ] = None,
    outpaint: Annotated[
        str | None, typer.Option(help="Paint so many pixels more at the left,top,right,bottom instead.")
    ] = None,
    candidates: Candidates = 16,
    keep: Keep = 4,
    seed: Seed = 0,
    guidance: Guidance = None,
    changes: Changes = None,
    upscale: Upscale = None,
    out: Out = Path("pinxit-out"),
    as_json: AsJson = False,
    strict: Strict = False,
    checkpoint: CheckpointOption = DEFAULT,
    device: Device = "auto",
) -> None:
    """Paint what is white in a mask so that the whole picture fits the prompt; every other pixel stays as it is.

    [bold]Examples[/bold]

      pinxit edit room.png "a room with a red sofa" --mask sofa.png
      pinxit edit fox.png "a fox in a forest" --outpaint 32,0,32,0
    """
    from pinxit.cli import progress
    from pinxit.cli.paint_output import draw_and_write
    from pinxit.types import Prompt

    given, facts = InputPicture.read(picture), {"outpaint": outpaint}
    whole, hole, mask_facts = _asked(given.picture, mask, outpaint)
    painter = manipulator(checkpoint, device)
    painter.check_edits()
    settings = painter.settled(settings_of(changes, guidance=guidance))
    upsampler = enlarger(painter, upscale)
    warn_about_prompt(painter, prompt, strict)
    painter.asked(Prompt(prompt, seed), candidates, keep, settings)  # refuses an empty prompt before anything is said
    if mask is not None and hole.paint.all():  # as of white strokes on a transparent layer
        warn("pinxit: the mask is white everywhere, as what is transparent counts as white: all is painted anew.")
    how: dict[str, Any] = {"candidates": candidates, "keep": keep, "seed": seed}

    def draw(watch: Watch) -> Generator[list[Ranked], None, None]:
        about = how | settings | {"watch": watch, "previews": progress.PREVIEW_SECONDS, "upsampler": upsampler}
        yield painter.edit(whole, hole, prompt, **about)

    facts = facts | how | given.facts | mask_facts | {"upscale": 0}
    facts |= {} if upsampler is None else upsampler.facts
    draw_and_write(painter, [prompt], draw, out, settings | facts, as_json)


def _asked(picture: Picture, mask: Path | None, outpaint: str | None) -> tuple[Picture, Mask, dict[str, Any]]:
    """The picture to edit, what of it is painted, and the metadata about the mask.

    Raises UsageError unless exactly one of `mask` and `outpaint` is given, and fits the picture.
    """
    from pinxit.data.masks import mask_in
    from pinxit.recipes.diffusion.window import check_mask, outpainted

    if (mask is None) == (outpaint is None):
        raise UsageError("give exactly one of --mask and --outpaint: they say where to paint.")
    if mask is None:
        return *outpainted(picture, *sides_of("--outpaint", outpaint or "")), {}
    given = InputPicture.read(mask)
    hole = mask_in(given.picture, str(mask))
    check_mask(picture, hole)
    return picture, hole, {f"mask_{name}": value for name, value in given.facts.items()}
