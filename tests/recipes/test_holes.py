from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinxit.data.transforms import square_crop
from pinxit.errors import UsageError
from pinxit.recipes.dalle.holes import below_rows, inside_box, paste_known, under_mask
from pinxit.types import Mask


def test_keep_rows() -> None:
    hole = below_rows(8, 3)
    assert not hole[:3].any() and hole[3:].all()


@pytest.mark.parametrize("keep", [-1, 0, 8, 9])
def test_keep_rows_must_leave_something_on_both_sides(keep: int) -> None:
    with pytest.raises(UsageError, match="from 1 to 7"):
        below_rows(8, keep)


def test_box_is_rounded_outward_to_cells() -> None:
    hole = inside_box(8, 64, 64, (9, 16, 17, 24), 64)
    assert {tuple(cell) for cell in np.argwhere(hole)} == {(2, 1), (2, 2)}


def test_box_follows_the_centre_crop() -> None:
    hole = inside_box(4, 200, 100, (50, 0, 75, 25), 64)  # the square begins at x = 50
    assert [tuple(cell) for cell in np.argwhere(hole)] == [(0, 0)]
    with pytest.raises(UsageError, match="outside the centre square"):
        inside_box(4, 200, 100, (0, 0, 50, 100), 64)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (-1, 0, 4, 4), (0, 0, 65, 4), (9, 9, 4, 4)])
def test_bad_boxes_are_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="inside the picture of 64x64"):
        inside_box(8, 64, 64, box, 64)


@given(st.integers(0, 63), st.integers(1, 64), st.integers(0, 63), st.integers(1, 64))
def test_every_pixel_of_the_box_is_in_the_hole(left: int, right: int, top: int, bottom: int) -> None:
    if left >= right or top >= bottom:
        return
    hole = np.kron(inside_box(8, 64, 64, (left, top, right, bottom), 64), np.ones((8, 8), bool))
    assert hole[top:bottom, left:right].all()
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    assert top - rows[0] < 8 and rows[-1] - (bottom - 1) < 8
    assert left - columns[0] < 8 and columns[-1] - (right - 1) < 8


def test_known_pixels_survive() -> None:
    known, painted = np.full((16, 16, 3), 7, np.uint8), np.full((16, 16, 3), 200, np.uint8)
    hole = below_rows(4, 1)
    result = paste_known(known, painted, hole)
    assert (result[:4] == 7).all() and (result[4:] == 200).all()


def test_box_follows_the_centre_crop_of_tall_pictures() -> None:
    hole = inside_box(4, 100, 200, (0, 50, 25, 75), 64)  # the square begins at y = 50
    assert [tuple(cell) for cell in np.argwhere(hole)] == [(0, 0)]


def test_a_mask_takes_every_cell_that_it_touches() -> None:
    paint = np.zeros((50, 100), bool)  # the square begins at x = 25
    paint[12, 25] = paint[49, 74] = True  # cells have 12.5 pixels: row 12 lies in the first two of them
    hole = under_mask(4, Mask(paint), 64)
    assert hole.shape == (4, 4) and [tuple(map(int, cell)) for cell in np.argwhere(hole)] == [(0, 0), (1, 0), (3, 3)]
    paint[12, 25] = paint[49, 74] = False
    paint[0, 10] = True
    with pytest.raises(UsageError, match="paints nothing in the centre"):
        under_mask(4, Mask(paint), 64)


@pytest.mark.parametrize("turned", [False, True])
def test_holes_lie_where_the_square_is_cut(turned: bool) -> None:
    """At 12 pixels a side it begins 2 of 16 pixels from the left: 50.6 pixels of the picture, not 52.5."""
    width, height = (300, 405) if turned else (405, 300)
    seen = 0
    for place in range(405):
        box = (0, place, 300, place + 1) if turned else (place, 0, place + 1, 300)
        picture = np.zeros((height, width, 3), np.uint8)
        picture[box[1] : box[3], box[0] : box[2]] = 255
        shown = square_crop(picture, 12, "area").max(2).reshape(4, 3, 4, 3).max((1, 3)) > 0
        if shown.any():
            seen += 1
            for hole in (inside_box(4, width, height, box, 12), under_mask(4, Mask(picture[..., 0] > 0), 12)):
                assert not (shown & ~hole).any() and hole.sum() in (4, 8), place
    assert seen > 300
