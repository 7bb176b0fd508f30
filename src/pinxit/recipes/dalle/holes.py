"""Which part of a picture is redrawn, in code cells and in pixels (DALL-E, completion of a rectangle).

A hole is a bool array [h, w] over the code grid, True where new codes are drawn. A rectangle in pixels is rounded
outward to whole cells, so that no cell is half known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.types import Mask, Picture

Hole = np.ndarray[tuple[int, int], np.dtype[np.bool_]]
PixelBox = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are outside


def below_rows(grid: int, keep_rows: int) -> Hole:
    """Keep the top `keep_rows` rows of cells and redraw the rest. Raises UsageError when nothing is kept or redrawn."""
    if not 0 < keep_rows < grid:
        raise UsageError(f"--keep-rows must be from 1 to {grid - 1} (the picture has {grid} rows), not {keep_rows}.")
    hole = np.zeros((grid, grid), bool)
    hole[keep_rows:] = True
    return hole


def inside_box(grid: int, width: int, height: int, box: PixelBox) -> Hole:
    """Redraw `box`, given in pixels of a picture of `width` x `height` that will be centre-cropped to a square.

    Raises UsageError when the box is empty or lies outside the square that is kept.
    """
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UsageError(
            f"--box {left},{top},{right},{bottom} must be left,top,right,bottom "
            f"inside the picture of {width}x{height} pixels."
        )
    side = min(width, height)
    cell = side / grid
    x, y = (width - side) / 2, (height - side) / 2
    columns = _cells(left - x, right - x, cell, grid)
    rows = _cells(top - y, bottom - y, cell, grid)
    hole = np.zeros((grid, grid), bool)
    hole[rows, columns] = True
    if not hole.any():
        raise UsageError(f"--box {left},{top},{right},{bottom} lies outside the centre square that is painted on.")
    return hole


def under_mask(grid: int, mask: Mask) -> Hole:
    """Redraw every cell of the centre square in which the mask paints any pixel. Raises UsageError if there is none."""
    height, width = mask.paint.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    paint = mask.paint[top : top + side, left : left + side]
    edges = np.arange(grid + 1) * side / grid
    starts, stops = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    hole = np.array([[paint[a:b, c:d].any() for c, d in zip(starts, stops, strict=True)]
                     for a, b in zip(starts, stops, strict=True)])  # fmt: skip
    if not hole.any():
        raise UsageError("the mask paints nothing in the centre square that is painted on.")
    return hole


def _cells(start: float, stop: float, cell: float, grid: int) -> slice:
    tiny = 1e-9  # a box that ends exactly on a border does not take the next cell
    first, last = np.floor(start / cell + tiny), np.ceil(stop / cell - tiny)
    return slice(int(np.clip(first, 0, grid)), int(np.clip(last, 0, grid)))


def paste_known(known: Picture, painted: Picture, hole: Hole) -> Picture:
    """`painted` inside the hole, the pixels of `known` outside; both [S, S, 3], S a multiple of the grid."""
    scale = known.shape[0] // hole.shape[0]
    mask = np.kron(hole, np.ones((scale, scale), bool))[..., None]
    return np.where(mask, painted, known).astype(np.uint8)
