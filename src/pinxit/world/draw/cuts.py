"""Cross-sections: a sprite cut open. Its rind stays as it is; within lie lighter flesh and a core of its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pinxit.errors import DataError
from pinxit.world.draw.depth import Mask, depth, disc, enlarged, opened, within
from pinxit.world.draw.palette import RGB, mix
from pinxit.world.draw.pen import Pen, on_circle
from pinxit.world.draw.sprites import raster, silhouette

_FINE = 2  # the sprite is enlarged so many times before it is cut
_RIND = 0.16  # the rind's share of the radius of the largest disc inside
_BODY = 0.5  # what is thinner than this share of the disc (a stalk, a tail) is not cut
_GREEN = ("avocado", "kiwi")  # whose green is not leaves


@dataclass(frozen=True, slots=True)
class Cut:
    """What a thing looks like inside."""

    flesh: RGB
    core: RGB
    draw: Callable[[CutFace, Cut], None]
    lining: RGB | None = None  # between rind and flesh


@dataclass(frozen=True, slots=True)
class CutFace:
    """The cut face of a sprite: how deep each pixel of `image` lies in it, and the largest disc in it."""

    image: Image.Image
    depths: NDArray[np.float32]
    x: float
    y: float
    radius: float

    def pen(self) -> Pen:
        """A pen whose region is the square around the disc."""
        x, y, r = self.x, self.y, self.radius
        return Pen(self.image, (round(x - r), round(y - r), round(x + r), round(y + r)), self.image.height / 64)

    def inner(self, share: float, fill: RGB) -> None:
        """Fill the face shrunk by `share` of the radius."""
        self.image.paste((*fill, 255), mask=within(self.depths, share * self.radius))


def _stone(inside: CutFace, cut: Cut) -> None:
    pen = inside.pen()
    pen.ellipse(0.24, 0.24, 0.76, 0.76, cut.core)
    pen.ellipse(0.34, 0.32, 0.5, 0.48, mix(cut.core, (255, 255, 255), 0.4))


def _seeds(inside: CutFace, cut: Cut) -> None:
    """A star of seeds around the middle."""
    pen = inside.pen()
    pen.ellipse(0.22, 0.22, 0.78, 0.78, mix(cut.flesh, cut.core, 0.22))
    for k in range(5):
        x, y = on_circle(k / 5, 0.17)
        pen.ellipse(x - 0.085, y - 0.085, x + 0.085, y + 0.085, cut.core)


def _dots(inside: CutFace, cut: Cut) -> None:
    """A pale middle with a ring of small seeds around it."""
    pen = inside.pen()
    pen.ellipse(0.3, 0.3, 0.7, 0.7, mix(cut.flesh, (255, 255, 240), 0.75))
    for k in range(12):
        x, y = on_circle(k / 12, 0.31)
        pen.ellipse(x - 0.05, y - 0.05, x + 0.05, y + 0.05, cut.core)


def _segments(inside: CutFace, cut: Cut) -> None:
    """Wedges between pale walls, as in a lemon or a pineapple."""
    pen = inside.pen()
    count = 9
    for k in range(count):
        wedge = [on_circle((k + lean) / count, reach) for lean, reach in ((0.5, 0.08), (0.14, 0.45), (0.86, 0.45))]
        pen.polygon(wedge, cut.core)


def _rings(inside: CutFace, cut: Cut) -> None:
    """Flesh in layers: the heart has another colour."""
    inside.inner(0.3, mix(cut.flesh, cut.core, 0.4))
    inside.inner(0.45, cut.core)


def _gills(inside: CutFace, cut: Cut) -> None:
    """The outline once more, in thin brown lines."""
    inside.inner(0.34, cut.core)
    inside.inner(0.46, cut.flesh)


_LOBES = (  # of a walnut's half: centre x (from the seam), centre y, half width, half height
    (0.21, 0.24, 0.15, 0.16),
    (0.25, 0.5, 0.2, 0.2),
    (0.2, 0.76, 0.15, 0.15),
    (0.36, 0.36, 0.1, 0.13),
    (0.36, 0.66, 0.1, 0.12),
)


def _lobes(inside: CutFace, cut: Cut) -> None:
    """A kernel in two wrinkled halves, apart in the middle, in a dark hollow."""
    pen = inside.pen()
    for side in (-1, 1):
        for x, y, across, down in _LOBES:
            middle = 0.5 + side * x
            pen.ellipse(middle - across, y - down, middle + across, y + down, cut.core)
        for y0, y1, y2 in ((0.34, 0.42, 0.36), (0.6, 0.56, 0.66)):
            wrinkle = ((0.5 + side * 0.12, y0), (0.5 + side * 0.24, y1), (0.5 + side * 0.38, y2))
            pen.line(wrinkle, 0.9, mix(cut.core, cut.flesh, 0.75))
    pen.line(((0.5, 0.06), (0.5, 0.94)), 1.2, mix(cut.flesh, (60, 34, 16), 0.5))


CUTS: dict[str, Cut] = {
    "apple": Cut((252, 244, 214), (92, 52, 26), _seeds),
    "avocado": Cut((236, 238, 160), (128, 78, 40), _stone, lining=(176, 206, 92)),
    "banana": Cut((255, 247, 214), (150, 112, 60), _seeds),
    "carrot": Cut((255, 196, 120), (240, 226, 150), _rings),
    "kiwi": Cut((150, 204, 76), (34, 36, 20), _dots),
    "lemon": Cut((255, 250, 214), (250, 226, 84), _segments),
    "mushroom": Cut((250, 240, 222), (176, 132, 92), _gills),
    "pineapple": Cut((255, 240, 160), (252, 212, 70), _segments),
    "radish": Cut((255, 246, 248), (238, 190, 208), _rings),
    "strawberry": Cut((255, 150, 150), (255, 236, 226), _rings),
    "walnut": Cut((112, 70, 36), (246, 224, 176), _lobes, lining=(226, 190, 134)),
}


@lru_cache(maxsize=64)
def cut_open(name: str, artist: str | None) -> Image.Image:
    """The sprite cut through, of the same size as the whole one: RGBA. Raises DataError for what cannot be cut."""
    if name not in CUTS:
        raise DataError(f"the world cannot cut a {name} open; choose from {', '.join(CUTS)}.")
    cut, whole = CUTS[name], raster(name, artist)
    image = whole.resize((whole.width * _FINE, whole.height * _FINE), Image.Resampling.BICUBIC)
    body = np.asarray(silhouette(name, artist)) >= 128
    if name not in _GREEN:
        body = body & ~_leaves(whole)
    body = opened(body, _BODY * disc(depth(body))[2])
    depths = depth(body)
    x, y, radius = (_FINE * value for value in disc(depths))
    depths = _FINE * enlarged(depths, _FINE) - _RIND * radius
    if cut.lining:
        image.paste((*cut.lining, 255), mask=within(depths, 0))
        depths = depths - 0.5 * _RIND * radius
    image.paste((*cut.flesh, 255), mask=within(depths, 0))
    cut.draw(CutFace(image, depths, x, y, float(depths.max())), cut)
    return image.reduce(_FINE)


def _leaves(picture: Image.Image) -> Mask:
    """Where the RGBA picture is green."""
    pixels = np.asarray(picture).astype(np.int32)
    red, green, blue, alpha = (pixels[..., band] for band in range(4))
    leafy: Mask = (green > red + 12) & (green > blue + 25) & (alpha >= 128)
    return leafy
