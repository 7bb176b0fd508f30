"""Which part of a picture is redrawn, in code cells and in pixels (DALL-E, completion of a rectangle).

A hole is a bool array [h, w] over the code grid, True where new codes are drawn. A rectangle in pixels is rounded
outward to whole cells, so that no cell is half known.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pinxit.data.transforms import square_bounds
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.types import Mask, Picture

Hole = np.ndarray[tuple[int, int], np.dtype[np.bool_]]
TINY = 1e-9  # what ends exactly on a border does not touch what lies beyond
PixelBox = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are outside


def below_rows(grid: int, keep_rows: int) -> Hole:
    """Keep the top `keep_rows` rows of cells and redraw the rest. Raises UsageError when nothing is kept or redrawn."""
    if not 0 < keep_rows < grid:
        raise UsageError(f"--keep-rows must be from 1 to {grid - 1} (the picture has {grid} rows), not {keep_rows}.")
    hole = np.zeros((grid, grid), bool)
    hole[keep_rows:] = True
    return hole


def inside_box(grid: int, width: int, height: int, box: PixelBox, size: int) -> Hole:
    """Redraw `box`, in pixels of a picture of `width` x `height` that `transforms.square_crop` brings to `size` pixels.

    Raises UsageError when the box is empty or lies outside the square that is kept.
    """
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UsageError(
            f"--box {left},{top},{right},{bottom} must be left,top,right,bottom "
            f"inside the picture of {width}x{height} pixels."
        )
    across, down = square_bounds(width, height, size)
    hole = np.zeros((grid, grid), bool)
    hole[_cells(top, bottom, down, grid), _cells(left, right, across, grid)] = True
    if not hole.any():
        raise UsageError(f"--box {left},{top},{right},{bottom} lies outside the centre square that is painted on.")
    return hole


def under_mask(grid: int, mask: Mask, size: int) -> Hole:
    """Redraw every cell of the square that is kept of a picture like the mask in which the mask paints any pixel.

    `size`: as in `inside_box`. Raises UsageError if there is none.
    """
    height, width = mask.paint.shape
    across, down = (list(_pixels(kept, grid)) for kept in square_bounds(width, height, size))
    hole = np.array([[mask.paint[rows, columns].any() for columns in across] for rows in down])
    if not hole.any():
        raise UsageError("the mask paints nothing in the centre square that is painted on.")
    return hole


def _cells(start: float, stop: float, kept: tuple[float, float], grid: int) -> slice:
    """The cells that the pixels from `start` to `stop` touch, of the part `kept`."""
    first, last = (grid * (edge - kept[0]) / (kept[1] - kept[0]) for edge in (start, stop))
    return slice(int(np.clip(np.floor(first + TINY), 0, grid)), int(np.clip(np.ceil(last - TINY), 0, grid)))


def _pixels(kept: tuple[float, float], grid: int) -> Iterator[slice]:
    """The pixels that each cell of the part `kept` touches."""
    edges = np.linspace(*kept, grid + 1)
    for first, last in pairwise(edges):
        yield slice(int(np.floor(first + TINY)), int(np.ceil(last - TINY)))


def paste_known(known: Picture, painted: Picture, hole: Hole) -> Picture:
    """`painted` inside the hole, the pixels of `known` outside; both [S, S, 3], S a multiple of the grid."""
    scale = known.shape[0] // hole.shape[0]
    mask = np.kron(hole, np.ones((scale, scale), bool))[..., None]
    return np.where(mask, painted, known).astype(np.uint8)
