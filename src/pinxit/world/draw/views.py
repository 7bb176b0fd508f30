"""Views: how the picture is seen.

Boxes keep their meaning wherever that is possible. "close-up" and "from afar" are matters of the boxes themselves (a
close-up may reach beyond the frame and blurs the place behind; from afar, a haze lies over the place). "upside down"
turns every item within its own box, and the place, by half a turn, so boxes stay exact; a "cross-section" shows every
item cut open (`cuts.py`) where it was. Only "fisheye" bends the picture after it is composed: boxes then say where
things were before, and `visible_boxes` where they are seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pinxit.errors import DataError
from pinxit.world.draw.pen import Layer

VIEWS = ("close-up", "from afar", "upside down", "fisheye", "cross-section")
OUTSIDE = -1  # in `bend`: the lens sees nothing here
_ZOOM = 0.55  # how much of the picture's side the lens shows, to first order, in its middle
_HALF_TURN = Image.Transpose.ROTATE_180


def check_view(view: str | None) -> None:
    """Raises DataError for a view the world does not have."""
    if view is not None and view not in VIEWS:
        raise DataError(f"the world has no view '{view}'; choose from {', '.join(VIEWS)}.")


def viewed_ground(view: str | None, ground: Image.Image, plain: bool) -> Image.Image:
    """The empty place, or the `plain` ground, as this view shows it."""
    if plain:
        return ground
    if view == "close-up":
        return ground.filter(ImageFilter.GaussianBlur(ground.width / 26))
    if view == "from afar":
        return Image.blend(ground, Image.new("RGB", ground.size, (236, 240, 246)), 0.2)
    return ground.transpose(_HALF_TURN) if view == "upside down" else ground


def viewed_layer(view: str | None, layer: Layer) -> Layer:
    """The layer as this view shows it, in its old place."""
    return Layer(layer.image.transpose(_HALF_TURN), layer.x, layer.y) if view == "upside down" else layer


@lru_cache(maxsize=8)
def bend(width: int, height: int) -> NDArray[np.int64]:
    """The fisheye lens: int64 [height, width], the flat index each pixel is taken from, or OUTSIDE.

    A pixel at distance r from the middle (1 at the middle of a side) shows what was at r (zoom + (1 - zoom) r^2).
    """
    y, x = np.indices((height, width))
    u, v = (2 * x + 1 - width) / width, (2 * y + 1 - height) / height
    square = u * u + v * v
    scale = _ZOOM + (1 - _ZOOM) * square
    column = np.rint((u * scale * width + width - 1) / 2).astype(np.int64)
    row = np.rint((v * scale * height + height - 1) / 2).astype(np.int64)
    inside = (square <= 1) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source: NDArray[np.int64] = np.where(inside, row * width + column, OUTSIDE)
    return source


def fisheye(picture: Image.Image) -> Image.Image:
    """The picture through a round lens; dark where the lens ends."""
    pixels = np.asarray(picture).reshape(-1, 3)
    source = bend(*picture.size)
    seen = np.where((source == OUTSIDE)[..., None], np.uint8(18), pixels[source])
    return Image.fromarray(seen.astype(np.uint8))


def fisheye_owners(owners: NDArray[np.int32]) -> NDArray[np.int32]:
    """`Stage.owners` through the same lens."""
    height, width = owners.shape
    source = bend(width, height)
    seen: NDArray[np.int32] = np.where(source == OUTSIDE, np.int32(-1), owners.reshape(-1)[source])
    return seen
