"""Which square of a picture is painted on, what of it is kept at any size, and that nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from pinxit.errors import UsageError
from pinxit.recipes.diffusion.window import PositionedWindow, Window, nothing_kept, outpainted
from pinxit.types import Mask

if TYPE_CHECKING:
    from pinxit.types import Picture


def picture(height: int, width: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mask(height: int, width: int, top: int, left: int, bottom: int, right: int) -> Mask:
    paint = np.zeros((height, width), bool)
    paint[top:bottom, left:right] = True
    return Mask(paint)


@pytest.mark.parametrize(
    ("shape", "box", "side", "corner"),
    [
        ((30, 30), (0, 0, 5, 5), 30, (0, 0)),
        ((30, 50), (10, 20, 20, 30), 30, (0, 10)),  # in its middle
        ((30, 50), (10, 0, 20, 4), 30, (0, 0)),  # at the edge
        ((30, 50), (10, 46, 20, 50), 30, (0, 20)),
        ((50, 30), (40, 0, 50, 30), 30, (20, 0)),
        ((30, 50), (10, 5, 20, 45), 50, (-10, 0)),  # wider than the shorter side
        ((51, 30), (0, 3, 51, 20), 51, (0, -10)),
    ],
)
def test_the_window_holds_all_that_is_painted(
    shape: tuple[int, int], box: tuple[int, int, int, int], side: int, corner: tuple[int, int]
) -> None:
    whole, hole = picture(*shape), mask(*shape, *box)
    framed = PositionedWindow.of(whole, hole)
    assert framed.window.picture.shape == (side, side, 3) and framed.corner == corner
    beyond = side * side - np.prod([min(side, length) for length in shape])
    assert framed.window.paint.sum() == hole.paint.sum() + beyond, "what lies beyond the edge is painted too"
    painted = picture(side, side, 1)
    found = framed.filled(painted)
    assert np.array_equal(found[~hole.paint], whole[~hole.paint])
    assert np.array_equal(found[hole.paint], painted[framed.window.paint & inside(framed, shape)])


def inside(framed: PositionedWindow, shape: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Which of the window's pixels are the picture's."""
    rows, columns = (np.arange(len(framed.window.paint)) + start for start in framed.corner)
    there = ((rows >= 0) & (rows < shape[0]))[:, None] & ((columns >= 0) & (columns < shape[1]))
    return np.asarray(there)


@pytest.mark.parametrize("size", [8, 12, 24, 30, 48])
def test_a_pixel_with_any_of_the_hole_in_it_is_painted(size: int) -> None:
    """So that a network is never shown what it is to paint over, at any ratio of the sizes."""
    window = Window(picture(24, 24), mask(24, 24, 5, 9, 6, 10).paint)
    found = window.at(size).paint
    places = np.arange(size) * 24 / size
    rows, columns = ((places < start + 1) & (places + 24 / size > start) for start in (5, 9))
    assert np.array_equal(found, rows[:, None] & columns)
    assert window.at(24) is window


def test_white_is_painted_and_black_is_kept() -> None:
    """One polarity from the file to the network's fourth channel."""
    drawn = np.zeros((16, 16, 3), np.uint8)
    drawn[:4] = 255
    whole = picture(16, 16)
    framed = PositionedWindow.of(whole, Mask.of(drawn))
    told = framed.window.conditions(16)["masked"]
    assert told.shape == (4, 16, 16) and (told[3, :4] == 1).all() and (told[3, 4:] == 0).all()
    assert (told[:3, :4] == 0).all()
    torch.testing.assert_close(told[:3, 4:].permute(1, 2, 0), torch.from_numpy(whole[4:]) / 127.5 - 1)
    found = framed.filled(np.zeros((16, 16, 3), np.uint8))
    assert (found[:4] == 0).all() and np.array_equal(found[4:], whole[4:])


def test_nothing_kept_is_a_window_of_white() -> None:
    all_of_it = Window(picture(8, 8), np.ones((8, 8), bool)).conditions(8)["masked"]
    assert torch.equal(nothing_kept(8)["masked"], all_of_it)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="the mask has 20 x 10 pixels and the picture 10 x 20: make them the same"):
        PositionedWindow.of(picture(20, 10), mask(10, 20, 0, 0, 2, 2))
    with pytest.raises(UsageError, match="keeps the whole picture: white says where to paint, and it has none"):
        PositionedWindow.of(picture(20, 10), mask(20, 10, 0, 0, 0, 0))
    with pytest.raises(UsageError, match=r"the mask must be a pinxit.types.Mask, such as Mask\(array\), not ndarray"):
        PositionedWindow.of(picture(20, 10), np.ones((20, 10), bool))  # type: ignore[arg-type]


def test_a_long_narrow_picture_is_refused_before_its_square_fills_the_memory() -> None:
    strip = np.zeros((1, 60_000, 3), np.uint8)
    with pytest.raises(UsageError, match=r"over 50000 pixels .* 60000 x 1, .* 60000 pixels a side is too large"):
        PositionedWindow.of(strip, mask(1, 60_000, 0, 0, 1, 50_000))


def test_outpainting_adds_what_is_painted_and_keeps_the_rest() -> None:
    whole = picture(20, 30)
    larger, hole = outpainted(whole, 5, 0, 7, 2)
    assert larger.shape == (22, 42, 3) and hole.paint.sum() == 22 * 42 - 20 * 30
    assert np.array_equal(larger[:20, 5:35], whole) and not hole.paint[:20, 5:35].any()
    for sides in ((0, 0, 0, 0), (-1, 0, 4, 0)):
        with pytest.raises(UsageError, match="outpainting adds pixels at the left, top, right, bottom, not"):
            outpainted(whole, *sides)


def test_the_centre_square_of_a_picture_and_its_mask() -> None:
    for shape, here in (((10, 17), np.s_[:, 3:13]), ((17, 10), np.s_[3:13])):
        whole, hole = picture(*shape), mask(*shape, 4, 4, 6, 6)
        window = Window.centre(whole, hole)
        assert np.array_equal(window.picture, whole[here]) and np.array_equal(window.paint, hole.paint[here])
    with pytest.raises(UsageError, match="keeps the whole picture"):
        Window.centre(picture(10, 17), mask(10, 17, 0, 0, 10, 3))
    with pytest.raises(UsageError, match="make them the same"):
        Window.centre(picture(10, 17), mask(10, 16, 0, 5, 10, 6))


def test_what_is_painted_smaller_is_enlarged_into_the_hole() -> None:
    window = Window(picture(16, 16), mask(16, 16, 4, 4, 12, 12).paint)
    found = window.pasted(np.full((8, 8, 3), 200, np.uint8))
    assert (found[4:12, 4:12] == 200).all() and np.array_equal(found[~window.paint], window.picture[~window.paint])
    flat = Window(np.full((16, 16, 3), 60, np.uint8), window.paint)
    assert (flat.at(32).picture == 60).all() and flat.at(32).paint.sum() == 4 * window.paint.sum()
    assert flat.conditions(8)["masked"].shape == (4, 8, 8)


def test_outpainting_ends_where_pictures_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinxit.recipes.diffusion.window.MOST_PIXELS", 120)
    larger, hole = outpainted(picture(10, 10), 0, 0, 2, 0)
    assert larger.shape == (10, 12, 3) and hole.paint[:, 10:].all() and not hole.paint[:, :10].any()
    assert np.array_equal(larger[:, 10], larger[:, 9]) and np.array_equal(larger[:, 11], larger[:, 9])
    with pytest.raises(UsageError, match="a picture of 13 x 10 pixels is too large: add fewer"):
        outpainted(picture(10, 10), 1, 0, 2, 0)
