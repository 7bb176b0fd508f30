"""Rows of an update, and the numbers that are drawn for each of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pinxit.training.draws import row_rngs, row_streams, uniforms
from pinxit.training.rows import Rows, all_rows


def test_rows_are_cut_in_their_order_and_know_where_they_stand() -> None:
    pieces = list(all_rows(64, 8).cut(2))
    assert [piece.position for piece in pieces] == [64, 66, 68, 70]
    assert np.concatenate([piece.positions for piece in pieces]).tolist() == list(range(64, 72))
    assert pieces[3] == Rows(64, 8, 6, 2) and np.arange(8)[pieces[3].span].tolist() == [6, 7]
    assert [piece.position for piece in list(pieces[1].cut(1))] == [66, 67]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_what_a_picture_is_given_does_not_depend_on_its_company(size: int) -> None:
    """Nor does it on where its update begins: the same position in another batch draws the same."""
    full = all_rows(64, 8)
    for pieces in (list(full.cut(size)), [all_rows(first, size) for first in range(64, 72, size)]):
        even = np.concatenate([uniforms(3, "a", rows, 5) for rows in pieces])
        assert np.array_equal(even, uniforms(3, "a", full, 5))
        asked = (("normal", (3, 5)), ("uniform", (17,)), ("normal", ()), ("uniform", (0,)), ("normal", (2,)))
        wanted, streams = row_streams(3, "a", full), [row_streams(3, "a", rows) for rows in pieces]
        for draw, shape in asked:
            parts = [getattr(one, draw)(rows.count, *shape) for one, rows in zip(streams, pieces, strict=True)]
            assert torch.equal(torch.cat(parts), getattr(wanted, draw)(8, *shape))


def test_numbers_differ_by_seed_purpose_position_and_column_and_are_even() -> None:
    rows = all_rows(0, 20_000)
    found = uniforms(1, "a", rows, 3)
    for other in (uniforms(2, "a", rows, 3), uniforms(1, "b", rows, 3)):
        assert abs(np.corrcoef(found.ravel(), other.ravel())[0, 1]) < 0.02
    assert len(np.unique(found)) == found.size and found.min() >= 0 and found.max() < 1
    assert np.abs(np.histogram(found, 10, (0, 1))[0] / found.size - 0.1).max() < 0.005
    for lag in (1, 2):
        assert abs(np.corrcoef(found[lag:, 0], found[:-lag, 0])[0, 1]) < 0.02
        assert abs(np.corrcoef(found[:, 0], found[:, lag])[0, 1]) < 0.02
    one, two = row_rngs(1, "a", Rows(0, 8, 2, 2))
    assert one.random() != two.random()


def test_streams_have_the_moments_that_they_say() -> None:
    streams = row_streams(0, "a", all_rows(0, 4))
    normal, even = streams.normal(4, 50_000), streams.uniform(4, 50_000)
    assert normal.mean(1).abs().max() < 0.02 and (normal.std(1) - 1).abs().max() < 0.02
    assert (even.mean(1) - 0.5).abs().max() < 0.01 and even.min() >= 0 and even.max() < 1
    assert torch.corrcoef(normal).fill_diagonal_(0).abs().max() < 0.02
