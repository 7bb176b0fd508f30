"""From a scene to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pinxit.errors import UsageError
from pinxit.world.draw.stage import stage_of
from pinxit.world.draw.styles import PLAIN, style_named
from pinxit.world.draw.views import fisheye, fisheye_owners
from pinxit.world.scene import Box, Scene

if TYPE_CHECKING:
    from pinxit.types import Picture

SMALLEST, LARGEST = 8, 2048
_LENS = 2  # a fisheye takes whole pixels, so it works at twice the resolution


def render(scene: Scene, size: int = 64) -> Picture:
    """The scene as a picture: uint8 [size, size, 3], the same on every machine.

    With `scene.lower_style` the boxes lie in the upper half (y below 0.5), which is painted in `scene.style`; the
    lower half repeats it in `lower_style`. Raises UsageError for a size out of range, DataError for a scene that names
    what the world does not have.
    """
    _check(size)
    if scene.lower_style is None:
        picture = _painted(scene, scene.style, size, size)
    else:
        picture = Image.new("RGB", (size, size))
        picture.paste(_painted(scene, scene.style, size, size // 2), (0, 0))
        picture.paste(_painted(scene, scene.lower_style, size, size - size // 2), (0, size // 2))
    return np.array(picture)


def render_masks(scene: Scene, size: int = 64) -> list[NDArray[np.bool_]]:
    """What is seen of each item, in the order of `scene.items`: bool [size, size] where it is at least half opaque and
    nothing nearer hides it. Of a pair, the upper copy."""
    _check(size)
    height = size if scene.lower_style is None else size // 2
    owner = np.full((size, size), -1, np.int32)
    seen = stage_of(scene, size, height).owners()
    owner[:height] = fisheye_owners(seen) if scene.view == "fisheye" else seen
    return [owner == k for k in range(len(scene.items))]


def visible_boxes(scene: Scene, size: int = 64) -> list[Box | None]:
    """Where each item is seen: the extents of its mask as fractions of the side, None when it is hidden."""
    return [_extents(mask) for mask in render_masks(scene, size)]


def _extents(mask: NDArray[np.bool_]) -> Box | None:
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    size = len(mask)
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return float(left / size), float(top / size), float(right / size), float(bottom / size)


def _painted(scene: Scene, style: str | None, width: int, height: int) -> Image.Image:
    """The whole scene in one style, at the resolution the style works at, then reduced."""
    chosen = PLAIN if style is None else style_named(style)
    over = max(chosen.over, _LENS) if scene.view == "fisheye" else chosen.over
    painted = chosen.paint(stage_of(scene, width * over, height * over))
    if scene.view == "fisheye":
        painted = fisheye(painted)
    return painted.reduce(over) if over > 1 else painted


def _check(size: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"a picture's side must be {SMALLEST} to {LARGEST} pixels, not {size}.")
