"""The free outline of a made thing: a flat shape, or a sprite's silhouette ("a clock in the shape of an avocado")."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageFilter

from pinxit.errors import DataError
from pinxit.world.draw.palette import RGB, tones
from pinxit.world.draw.pen import Pen
from pinxit.world.draw.shapes import OUTLINES, SHAPE_ASPECTS
from pinxit.world.draw.sprites import raster, silhouette, sprite_aspect
from pinxit.world.pack import Pack

_GRID = 64


@dataclass(frozen=True, slots=True)
class MadeThing:
    """How a made thing is to be drawn."""

    colour: RGB
    form: str | None  # its outline; None is its usual one
    chance: tuple[float, float]  # two free numbers in [0, 1)
    words: str | None = None  # what is written on it
    natural: bool = False  # the sprite that lends its outline lends its picture too


def check_form(form: str) -> None:
    """Raises DataError for a form that is neither a flat shape nor a sprite."""
    if form not in OUTLINES and form not in Pack.open().things:
        raise DataError(f"the world has no form '{form}'; choose {', '.join(OUTLINES)} or the name of a sprite.")


def form_aspect(form: str) -> float:
    """Width over height of an outline at its natural proportions."""
    return SHAPE_ASPECTS.get(form, 1.0) if form in OUTLINES else sprite_aspect(form, None)


def draw_form(pen: Pen, form: str, fill: RGB) -> None:
    """Fill the outline over the whole region of `pen`; a ring counts as a disc."""
    if form in OUTLINES:
        pen.polygon(OUTLINES[form], fill)
    else:
        pen.stamp(silhouette(form), fill)


def draw_body(pen: Pen, make: MadeThing, usual: str) -> None:
    """The outline of what is made, in its colour or as the picture of the sprite that lends it."""
    form = make.form or usual
    if make.natural:
        pen.picture(raster(form, None))
    else:
        draw_form(pen, form, tones(make.colour)[1])


@lru_cache(maxsize=256)
def core(form: str) -> tuple[float, float, float, float]:
    """About the largest disc inside an outline of natural proportions: (centre x, centre y, radius across, radius
    down), as shares of the outline's width and height."""
    height, width = _GRID, round(_GRID * form_aspect(form))
    canvas = Image.new("RGBA", (width, height))
    draw_form(Pen(canvas, (0, 0, width, height), 1.0), form, (0, 0, 0))
    mask = Image.new("L", (width + 2, height + 2))
    mask.paste(canvas.getchannel("A").point(lambda a: 255 * (a >= 128)), (1, 1))
    x, y, radius = 0.5 * width, 0.5 * height, 0.0
    for depth in range(max(width, height)):
        box = mask.getbbox()
        if box is None:
            break
        x, y, radius = (box[0] + box[2]) / 2 - 1, (box[1] + box[3]) / 2 - 1, depth + 0.5
        mask = _eroded(mask, diamond=depth % 2 == 1)
    return x / width, y / height, radius / width, radius / height


def _eroded(mask: Image.Image, diamond: bool) -> Image.Image:
    """One pixel taken off all round; squares and diamonds in turn take off nearly a disc."""
    return mask.filter(_DIAMOND).point(lambda a: 255 * (a >= 250)) if diamond else mask.filter(ImageFilter.MinFilter(3))


_DIAMOND = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, 1, 1, 0, 1, 0), scale=5)
