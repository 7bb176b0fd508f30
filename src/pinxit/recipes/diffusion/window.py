"""The square of a picture in which an edit paints, with what is kept of it, at the size of any network of a cascade."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from pinxit.data.decode import MOST_PIXELS
from pinxit.data.transforms import square_crop, to_tensor
from pinxit.errors import UsageError
from pinxit.functional.holes import with_holes
from pinxit.recipes.diffusion.conditions import Conditions
from pinxit.types import Mask, check_pixels

if TYPE_CHECKING:
    from pinxit.types import Picture


@dataclass(frozen=True)
class Window:
    """A square picture and which of its pixels are repainted."""

    picture: Picture  # [W, W, 3]
    paint: NDArray[np.bool_]  # [W, W], True: repainted

    @classmethod
    def centre(cls, picture: Picture, mask: Mask) -> Window:
        """The centre square of a picture. Raises UsageError for a mask of another size, or one that keeps it all."""
        check_mask(picture, mask)
        side = min(picture.shape[:2])
        top, left = ((length - side) // 2 for length in picture.shape[:2])
        here = (slice(top, top + side), slice(left, left + side))
        check_mask(picture[here], Mask(mask.paint[here]))
        return cls(picture[here], mask.paint[here])

    def at(self, size: int) -> Window:
        """The same at `size` pixels a side; a pixel is painted if it overlaps any that is."""
        side = len(self.picture)
        if size == side:
            return self
        firsts = np.arange(size) * side // size
        lasts = -(-np.arange(1, size + 1) * side // size)  # one past the last pixel that overlaps
        rows = np.stack([self.paint[a:b].any(0) for a, b in zip(firsts, lasts, strict=True)])
        paint = np.stack([rows[:, a:b].any(1) for a, b in zip(firsts, lasts, strict=True)], 1)
        return Window(square_crop(self.picture, size, "area" if size < side else "bicubic"), paint)

    def conditions(self, size: int) -> Conditions:
        """`masked` [4, size, size], the condition of a network that paints inside holes."""
        here = self.at(size)
        x = to_tensor(here.picture[None]) * 2 - 1
        return {"masked": with_holes(x, torch.from_numpy(here.paint[None]))[0]}

    def pasted(self, painted: Picture) -> Picture:
        """`painted`, of any size, inside the mask; every other pixel is the window's own, bit for bit."""
        fitting = square_crop(painted, len(self.picture), "bicubic")
        return np.where(self.paint[:, :, None], fitting, self.picture)


def nothing_kept(size: int) -> Conditions:
    """`masked` [4, size, size] where everything is painted."""
    return {"masked": F.pad(torch.zeros(3, size, size), (0, 0, 0, 0, 0, 1), value=1.0)}


@dataclass(frozen=True)
class PositionedWindow:
    """A window with its position in the whole picture, beyond whose edges it may reach."""

    window: Window
    whole: Picture  # [H, W, 3]
    mask: Mask
    corner: tuple[int, int]  # top and left of the window in the picture; may be negative

    @classmethod
    def of(cls, whole: Picture, mask: Mask) -> PositionedWindow:
        """A square that contains all that is painted: as wide as the picture's shorter side if that is enough, else as
        its longer side.

        What lies beyond the picture's edges is painted too, and cut off at the end. Raises UsageError for a mask of
        another size, one that keeps everything, and one that needs a square of more pixels than a picture may have.
        """
        check_mask(whole, mask)
        height, width = mask.paint.shape
        rows, columns = (np.flatnonzero(mask.paint.any(axis)) for axis in (1, 0))
        reach = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
        side = min(height, width) if reach <= min(height, width) else max(height, width)
        if side * side > MOST_PIXELS:  # a long, narrow picture is small itself
            raise UsageError(
                f"what is painted reaches over {reach} pixels of a picture of {width} x {height}, and a square of "
                f"{side} pixels a side is too large: paint a smaller part, or a smaller picture."
            )
        top, left = (_start(span, length, side) for span, length in ((rows, height), (columns, width)))
        picture, paint = np.zeros((side, side, 3), np.uint8), np.ones((side, side), bool)
        here, there = _overlap((top, left), (height, width), side)
        picture[here], paint[here] = whole[there], mask.paint[there]
        return cls(Window(picture, paint), whole, mask, (top, left))

    def filled(self, painted: Picture) -> Picture:
        """The whole picture with what was painted in the window; every pixel outside the mask stays, bit for bit."""
        here, there = _overlap(self.corner, self.mask.paint.shape, len(self.window.picture))
        large, result = self.window.pasted(painted), self.whole.copy()
        result[there] = np.where(self.mask.paint[there][:, :, None], large[here], result[there])
        return result


Part = tuple[slice, slice]


def _overlap(corner: tuple[int, int], shape: tuple[int, ...], side: int) -> tuple[Part, Part]:
    """The overlap of window and picture: as slices of the window, and of the picture."""
    ends = list(zip(corner, shape, strict=True))
    here = [slice(max(-start, 0), min(side, length - start)) for start, length in ends]
    there = [slice(max(start, 0), min(length, start + side)) for start, length in ends]
    return (here[0], here[1]), (there[0], there[1])


def _start(span: NDArray[np.intp], length: int, side: int) -> int:
    """Where a window of `side` begins along an axis of `length`: it is centred on what is painted, where possible."""
    if side > length:
        return -((side - length) // 2)
    middle = (int(span[0]) + int(span[-1]) + 1 - side) // 2
    return min(max(middle, 0), length - side)


def check_mask(picture: Picture, mask: Mask) -> None:
    """Raise UsageError for what is no picture, and a mask that is not of its size, or that keeps everything."""
    check_pixels(picture)
    if not isinstance(mask, Mask):
        raise UsageError(f"the mask must be a pinxit.types.Mask, such as Mask(array), not {type(mask).__name__}.")
    (height, width), (high, wide) = mask.paint.shape, picture.shape[:2]
    if (height, width) != (high, wide):
        raise UsageError(f"the mask has {width} x {height} pixels and the picture {wide} x {high}: make them the same.")
    if not mask.paint.any():
        raise UsageError("the mask keeps the whole picture: white says where to paint, and it has none.")


def outpainted(picture: Picture, left: int, top: int, right: int, bottom: int) -> tuple[Picture, Mask]:
    """A picture extended by so many pixels on each side, and the mask that says to paint them.

    Raises UsageError for negative numbers, for nothing to add, and for more pixels than a picture may have.
    """
    more = (left, top, right, bottom)
    if min(more) < 0 or not any(more):
        raise UsageError(f"outpainting adds pixels at the left, top, right, bottom, not {','.join(map(str, more))}.")
    height, width = picture.shape[0] + top + bottom, picture.shape[1] + left + right
    if height * width > MOST_PIXELS:
        raise UsageError(f"a picture of {width} x {height} pixels is too large: add fewer.")
    around = ((top, bottom), (left, right))
    paint = np.pad(np.zeros(picture.shape[:2], bool), around, constant_values=True)
    return np.pad(picture, (*around, (0, 0)), mode="edge"), Mask(paint)
