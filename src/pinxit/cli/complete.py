"""`pinxit complete`: redraw a rectangle of a picture."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.options import Device
from pinxit.cli.paint_options import (
    AsJson,
    Candidates,
    CheckpointOption,
    Guidance,
    Int8,
    Keep,
    Out,
    Seed,
    Strict,
    Temperature,
    sides_of,
    warn_about_prompt,
)
from pinxit.cli.painter_settings import Changes, resolve_settings, settings_of
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.jobs import Watch
    from pinxit.types import Ranked


def complete(
    picture: Annotated[Path, typer.Argument(help="The picture to redraw a part of; its centre square is painted on.")],
    prompt: Annotated[str, typer.Argument(help="What the whole picture should show afterwards.")],
    keep_rows: Annotated[
        int | None,
        typer.Option(help="Keep this many rows of the code grid (tiny's has 12) from the top and draw the rest."),
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="Redraw left,top,right,bottom, in pixels of the given picture.")
    ] = None,
    candidates: Candidates = 16,
    keep: Keep = 4,
    seed: Seed = 0,
    guidance: Guidance = None,
    temperature: Temperature = None,
    changes: Changes = None,
    out: Out = Path("pinxit-out"),
    as_json: AsJson = False,
    strict: Strict = False,
    checkpoint: CheckpointOption = "tiny",
    device: Device = "auto",
    int8: Int8 = False,
) -> None:
    """Redraw a rectangle of a picture so that the whole fits the prompt.

    Results show the picture's centre square at the checkpoint's size, 72 px a side for tiny.
    Outside the rectangle, rounded outward to whole cells of the code grid, the picture's own pixels stay.

    [bold]Examples[/bold]

      pinxit complete cat.png \\
          "the exact same cat on the top as a sketch on the bottom" --keep-rows 6
      pinxit complete room.png "a blue circle and a red square" --box 16,24,48,64
    """
    from pinxit.api import load
    from pinxit.cli.paint_output import draw_and_write
    from pinxit.data.decode import read_with_digest
    from pinxit.recipes.capabilities import Completes

    if (keep_rows is None) == (box is None):
        raise UsageError("give exactly one of --keep-rows and --box: they say which part is redrawn.")
    known, digest = read_with_digest(picture)
    given = settings_of(changes, guidance=guidance, temperature=temperature)
    painter = load(checkpoint, device=device, int8=int8)
    if not isinstance(painter, Completes):
        raise UsageError(f"{checkpoint} cannot complete a picture: choose a checkpoint of dalle.")
    settings = resolve_settings(given, painter)
    hole = painter.hole(known, keep_rows=keep_rows, box=sides_of("--box", box) if box else None)
    warn_about_prompt(painter, prompt, strict)

    def draw(watch: Watch) -> Generator[list[Ranked], None, None]:
        yield painter.complete(
            known, prompt, hole, candidates=candidates, keep=keep, seed=seed, watch=watch, **settings
        )

    facts: dict[str, Any] = {"seed": seed, "candidates": candidates, "keep": keep}
    facts |= {"keep_rows": keep_rows, "box": box, "completes": picture.name, "completes_sha256": digest}
    draw_and_write(painter, [prompt], draw, out, settings | facts, as_json)
