"""Clothes on a sprite, drawn in code and fitted to its silhouette: hat, scarf, shirt, trousers, tutu, gloves, boots.

They are made for things that stand upright (a carrot is set on its tip first); where the body parts lie is read off
the silhouette's rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from pinxit.errors import DataError
from pinxit.world.draw.builds import BUILDS, Build
from pinxit.world.draw.palette import RGB, colour_rgb, ramp, tones
from pinxit.world.draw.pen import Pen
from pinxit.world.draw.sprites import cropped, raster
from pinxit.world.scene import garment_colour

Outfit = tuple[tuple[str, str], ...]
_FINE = 2  # the sprite is enlarged so many times before it is dressed
_HEADROOM = 0.16  # free height above the head for a hat, as a share of the sprite's height


@dataclass(frozen=True, slots=True)
class DressedSprite:
    """A sprite being dressed. Rows are shares of the sprite's height from the crown of the head down."""

    image: Image.Image  # RGBA with headroom above
    skin: Image.Image  # L: the silhouette, a little widened, which clothes may cover
    spans: NDArray[np.int32]  # [rows, 2]: leftmost and rightmost column of each row of `image`
    top: int  # the row of `image` where the head begins
    build: Build

    @property
    def height(self) -> int:
        """Rows from head to foot."""
        return self.image.height - self.top

    def row(self, share: float) -> int:
        """The image row at a share of the height."""
        return min(self.top + int(share * self.height), self.image.height - 1)

    def span(self, share: float) -> tuple[int, int]:
        """Leftmost and rightmost column at a share of the height."""
        left, right = self.spans[self.row(share)]
        return int(left), int(right)

    def pen(self) -> Pen:
        """A pen over the whole raster; unit coordinates are made by `unit`."""
        return Pen(self.image, (0, 0, self.image.width, self.image.height), self.height / 40)

    def unit(self, x: float, y: float) -> tuple[float, float]:
        """Unit coordinates of column x and row y."""
        return x / (self.image.width - 1), y / (self.image.height - 1)


def _band(body: DressedSprite, start: float, end: float, colour: RGB, slim: bool = False) -> None:
    """Cloth over the silhouette between two heights, light on the left, dark on the right and at the hem."""
    low, high = body.row(start), body.row(end)
    steps = 12
    left = int(body.spans[low:high, 0].min()) - 2
    right = int(body.spans[low:high, 1].max()) + 3
    cloth = Image.new("RGB", body.image.size, colour)
    draw = ImageDraw.Draw(cloth)
    for k in range(steps):
        x = left + (right - left) * k // steps
        draw.rectangle(
            [x, low, left + (right - left) * (k + 1) // steps, high], fill=ramp(colour, 0.72 - 0.4 * k / steps)
        )
    draw.rectangle([0, high - max(1, body.height // 48), body.image.width, high], fill=tones(colour)[0])
    window = Image.new("L", body.image.size)
    window.paste(255, (0, low, body.image.width, high) if not slim else _between_hands(body, low, high))
    body.image.paste(cloth, mask=ImageChops.multiply(body.skin, window))


def _between_hands(body: DressedSprite, low: int, high: int) -> tuple[int, int, int, int]:
    """The columns of the legs, where no hand hangs beside them."""
    left, right = body.span(0.75)
    room = body.height // 48
    return left - room, low, right + 1 + room, high


def _trousers(body: DressedSprite, colour: RGB) -> None:
    build = body.build
    _band(body, build.waist - 0.01, build.ankle, colour, slim=build.slim)
    left, right = body.span(build.ankle - 0.04)
    middle, crotch = (left + right) / 2, build.waist + 0.08
    ends = (body.unit(middle, body.row(crotch)), body.unit(middle, body.row(build.ankle - 0.005)))
    body.pen().line(ends, 0.8, tones(colour)[0])


def _shirt(body: DressedSprite, colour: RGB) -> None:
    build = body.build
    _band(body, build.neck, build.waist + 0.01, colour)
    left, right = body.span(build.neck + 0.08)
    middle, pen = (left + right) / 2, body.pen()
    neck, reach = body.row(build.neck), min(0.07 * body.height, 0.25 * (right - left))
    collar = (body.unit(middle - reach, neck), body.unit(middle, neck + reach), body.unit(middle + reach, neck))
    pen.line(collar, 0.9, tones(colour)[0])
    for share in (build.neck + 0.12, build.neck + 0.19):
        (x, y), size = (middle, body.row(share)), body.height * 0.016
        pen.ellipse(*body.unit(x - size, y - size), *body.unit(x + size, y + size), (255, 255, 255))


def _tutu(body: DressedSprite, colour: RGB) -> None:
    """A short skirt of tulle, far wider than the waist, in two tiers with scalloped hems."""
    start = body.build.skirt
    left, right = body.span(start)
    middle, half = (left + right) / 2, min((right - left) / 2, 0.34 * body.height)
    dark, base, light = tones(colour)
    for drop, flare, fill in ((0.21, 1.0, base), (0.13, 0.8, light)):
        _tier(body, middle, half, (start, start + drop), flare, (fill, dark))
    waist = (body.unit(middle - half, body.row(start - 0.02)), body.unit(middle + half, body.row(start + 0.025)))
    body.pen().rectangle(*waist[0], *waist[1], dark)


_FOLDS = 6


def _tier(
    body: DressedSprite, middle: float, half: float, rows: tuple[float, float], flare: float, inks: tuple[RGB, RGB]
) -> None:
    pen, (top, hem) = body.pen(), (body.row(rows[0]), body.row(rows[1]))
    wide = half + flare * max(0.5 * half, 0.13 * body.height)
    corners = ((-half, top), (half, top), (wide, hem), (-wide, hem))
    pen.polygon([body.unit(middle + x, y) for x, y in corners], inks[0])
    step = 2 * wide / _FOLDS
    for k in range(_FOLDS):
        x = middle - wide + k * step
        pen.ellipse(*body.unit(x, hem - 0.4 * step), *body.unit(x + step, hem + 0.4 * step), inks[0])
    for k in range(1, _FOLDS):
        share = 2 * k / _FOLDS - 1
        pen.line((body.unit(middle + share * half, top), body.unit(middle + share * wide, hem)), 0.4, inks[1])


def _scarf(body: DressedSprite, colour: RGB) -> None:
    neck = body.build.neck
    left, right = body.span(neck)
    pen, drop = body.pen(), body.height
    x, y = left + 0.3 * (right - left), body.row(neck - 0.02)
    tail = [(x, y), (x + 0.1 * drop, y), (x + 0.09 * drop, y + 0.2 * drop), (x - 0.01 * drop, y + 0.2 * drop)]
    pen.polygon([body.unit(*corner) for corner in tail], tones(colour)[0])
    _band(body, neck - 0.06, neck + 0.03, colour)


def _boots(body: DressedSprite, colour: RGB) -> None:
    _band(body, body.build.ankle, 1.0, colour)


def _gloves(body: DressedSprite, colour: RGB) -> None:
    start, end = body.build.hands
    rows = body.spans[body.row(start) : body.row(end)]
    pen, size = body.pen(), min(0.085 * body.height, 0.17 * int((rows[:, 1] - rows[:, 0]).max()))
    for side, best in ((0, int(rows[:, 0].argmin())), (1, int(rows[:, 1].argmax()))):
        inward = size if side == 0 else -size
        x, y = float(rows[best, side]) + 0.55 * inward, float(body.row(start) + best)
        x = min(max(x, size), body.image.width - 1 - size)
        pen.ellipse(*body.unit(x - size, y - size), *body.unit(x + size, y + size), tones(colour)[0])
        inner = 0.8 * size
        pen.ellipse(*body.unit(x - inner, y - inner), *body.unit(x + inner, y + inner), colour)
        thumb = x + 0.7 * inward
        pen.ellipse(*body.unit(thumb - size / 2, y - size), *body.unit(thumb + size / 2, y), colour)


def _hat(body: DressedSprite, colour: RGB) -> None:
    rows = body.spans[body.row(0.02) : body.row(0.13)]
    middle = float((rows[:, 0] + rows[:, 1]).mean()) / 2
    wide = max(float((rows[:, 1] - rows[:, 0]).max()), 0.22 * body.height)
    wide = min(wide, 0.6 * body.height)
    dark, base, light = tones(colour)
    brim, crown = body.row(0.1), body.row(0.0) - _HEADROOM * body.height
    pen, thick = body.pen(), 0.035 * body.height
    pen.ellipse(*body.unit(middle - 0.36 * wide, crown), *body.unit(middle + 0.36 * wide, crown + 3 * thick), base)
    corners = ((-0.36, crown + 1.5 * thick), (0.36, crown + 1.5 * thick), (0.42, brim), (-0.42, brim))
    pen.polygon([body.unit(middle + share * wide, y) for share, y in corners], base)
    ribbon = ((-0.4, brim - 2.2 * thick), (0.4, brim - 2.2 * thick), (0.42, brim), (-0.42, brim))
    pen.polygon([body.unit(middle + share * wide, y) for share, y in ribbon], dark)
    pen.ellipse(*body.unit(middle - 0.66 * wide, brim - thick), *body.unit(middle + 0.66 * wide, brim + thick), base)
    pen.line(
        (body.unit(middle - 0.28 * wide, crown + 3 * thick), body.unit(middle - 0.3 * wide, brim - 3 * thick)),
        0.9,
        light,
    )


GARMENTS: dict[str, Callable[[DressedSprite, RGB], None]] = {  # in the order they are put on
    "trousers": _trousers,
    "shirt": _shirt,
    "tutu": _tutu,
    "scarf": _scarf,
    "boots": _boots,
    "gloves": _gloves,
    "hat": _hat,
}


@lru_cache(maxsize=64)
def dressed(name: str, artist: str | None, outfit: Outfit) -> Image.Image:
    """The sprite in its clothes, cropped to what is visible: RGBA. `outfit` holds (colour, garment) pairs.

    Raises DataError for a garment or colour that is not in the world.
    """
    worn = {}
    for colour, garment in outfit:
        if garment not in GARMENTS:
            raise DataError(f"the world has no garment '{garment}'; choose from {', '.join(GARMENTS)}.")
        worn[garment] = colour_rgb(garment_colour(colour, garment))
    naked = _body(name, artist)
    body = replace(naked, image=naked.image.copy())
    for garment, put_on in GARMENTS.items():
        if garment in worn:
            put_on(body, worn[garment])
    return cropped(body.image).reduce(_FINE)


@lru_cache(maxsize=96)
def _body(name: str, artist: str | None) -> DressedSprite:
    sprite, build = raster(name, artist), BUILDS.get(name, Build())
    if build.turn:
        sprite = _turned(sprite, build.turn)
    grown = sprite.resize((sprite.width * _FINE, sprite.height * _FINE), Image.Resampling.BICUBIC)
    top, side = int(grown.height * _HEADROOM) + 2, grown.height // 5
    image = Image.new("RGBA", (grown.width + 2 * side, grown.height + top))
    image.paste(grown, (side, top))
    alpha = image.getchannel("A")
    solid = np.asarray(alpha) >= 128
    columns = np.arange(image.width)
    left = np.where(solid, columns, image.width).min(1)
    right = np.where(solid, columns, -1).max(1)
    empty = right < 0
    left[empty] = right[empty] = image.width // 2
    spans = np.stack([left, right], 1).astype(np.int32)
    return DressedSprite(image, alpha.filter(ImageFilter.MaxFilter(5)), spans, top, build)


def _turned(sprite: Image.Image, degrees: int) -> Image.Image:
    """The sprite turned against the clock, cropped to what is visible."""
    turned = sprite.convert("RGBa").rotate(degrees, Image.Resampling.BICUBIC, expand=True).convert("RGBA")
    return cropped(turned)
