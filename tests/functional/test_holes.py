"""Holes: white paints, what is kept is kept to the bit, and training sees all sizes of them."""

from __future__ import annotations

import numpy as np
import torch

from pinxit.functional.draws import OneStream
from pinxit.functional.holes import WHOLE, random_holes, with_holes
from pinxit.types import Mask


def test_white_means_paint_here() -> None:
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 1:] = 255
    picture[1, 0] = (120, 130, 140)  # lighter than middle grey
    assert Mask.of(picture).paint.tolist() == [[False, True, True], [True, False, False]]


def test_what_is_kept_is_told_and_what_is_painted_is_not() -> None:
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    paint = torch.zeros(2, 4, 4, dtype=torch.bool)
    paint[0, 1:3, 2] = True
    found = with_holes(x, paint)
    assert found.shape == (2, 4, 4, 4) and torch.equal(found[1, :3], x[1]) and not found[1, 3].any()
    assert torch.equal(found[0, :3][:, ~paint[0]], x[0][:, ~paint[0]]) and not found[0, :3][:, paint[0]].any()
    assert torch.equal(found[0, 3], paint[0].float())
    other = x.clone()
    other[0][:, paint[0]] = 0.9
    assert torch.equal(with_holes(other, paint), found), "nothing of what is to be painted may be seen"


def test_random_holes_are_boxes_of_all_sizes_and_some_are_the_whole() -> None:
    found = random_holes(2000, 16, OneStream(torch.Generator().manual_seed(0)))
    share = found.float().mean((1, 2))
    assert abs(float((share == 1).float().mean()) - WHOLE) < 0.04 and (share > 0).all()
    assert float(share.min()) < 0.05 and ((share > 0.3) & (share < 0.6)).any()
    rows, columns = found.any(2), found.any(1)
    inside = ~rows[:, 0] & ~rows[:, -1]
    assert rows[inside].sum(1).min() == 2, "an eighth of the side, where no edge cuts it"
    assert random_holes(50, 8, OneStream(torch.Generator().manual_seed(1)), whole=1.0).all() and WHOLE == 0.25
    assert torch.equal(found, rows[:, :, None] & columns[:, None, :]), "a box is all of its rows and columns"
    assert ((rows[:, 1:] != rows[:, :-1]).sum(1) <= 2).all()
    assert found[share < 1].float().mean(0).min() > 0.07, "anywhere in the picture"
