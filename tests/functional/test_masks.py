"""Who sees whom, in the paper's order, and that a decoder's small key stores hold exactly that."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinxit.functional.masks import Kind, image_mask, key_store, layer_kinds, stream_mask

KINDS: tuple[Kind, ...] = get_args(Kind)


def test_paper_layer_order() -> None:
    kinds = layer_kinds(64)
    assert Counter(kinds) == {"row": 47, "column": 16, "conv": 1}
    assert kinds[:4] == ("row", "column", "row", "row")
    assert [i for i, kind in enumerate(kinds, 1) if kind == "column"] == list(range(2, 63, 4))
    assert kinds[-1] == "conv"


def test_layer_order_at_other_depths() -> None:
    assert layer_kinds(1) == ("conv",)
    assert layer_kinds(6) == ("row", "column", "row", "row", "row", "conv")
    assert layer_kinds(3, "dense") == ("dense",) * 3


def test_row_mask_on_the_papers_drawing() -> None:
    """On a 4-wide grid a token sees 5: itself and back to the one right above it, over the row's edge."""
    mask = image_mask("row", 4)
    assert mask.sum(1).tolist() == [1, 2, 3, 4] + [5] * 12
    assert mask[9].nonzero().flatten().tolist() == [5, 6, 7, 8, 9]


def test_column_mask_on_the_papers_drawing() -> None:
    mask = image_mask("column", 4)
    assert mask.sum(1).tolist() == [row + 1 for row in range(4) for _ in range(4)]
    assert mask[14].nonzero().flatten().tolist() == [2, 6, 10, 14]


def test_conv_mask_wraps_over_the_edges() -> None:
    """A 3 x 3 causal kernel: the token before, and the three around the one above, counted along the raster."""
    mask = image_mask("conv", 5, kernel=3)
    assert mask[12].nonzero().flatten().tolist() == [6, 7, 8, 11, 12]
    assert mask[10].nonzero().flatten().tolist() == [4, 5, 6, 9, 10]  # at the left edge: 4 and 9 are one row higher


def test_paper_conv_mask_reaches_five_rows_and_five_columns() -> None:
    seen = 20 * 32 + 16 - image_mask("conv", 32)[20 * 32 + 16].nonzero().flatten()
    assert len(seen) == 5 * 11 + 6
    assert seen.max() == 5 * 32 + 5


@pytest.mark.parametrize("kind", KINDS)
def test_stream(kind: Kind) -> None:
    """Text is causal and blind to the picture; the picture sees all text; all see themselves, none the future."""
    mask = stream_mask(kind, 5, 4, 3)
    assert mask.shape == (20, 20)
    assert torch.equal(mask[:5, :5], torch.ones(5, 5, dtype=torch.bool).tril())
    assert not mask[:5, 5:].any()
    assert mask[5:, :5].all()
    assert not mask.triu(1).any()
    assert mask.diagonal().all()
    assert torch.equal(mask[5:, 5:], image_mask(kind, 4, 3)[:15, :15])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 9), st.sampled_from([1, 3, 5, 11]))
def test_window_holds_what_the_mask_sees(kind: Kind, grid: int, kernel: int) -> None:
    """Write keys one by one as a decoder does; what is visible at p must be the mask's row p, each key once."""
    plan, mask = key_store(kind, grid, kernel), image_mask(kind, grid, kernel)
    store = torch.full((plan.store,), -1)
    for p in range(grid * grid):
        store[plan.write[p]] = p
        places = store if plan.read is None else store[plan.read[p]]
        assert sorted(places[plan.visible[p]].tolist()) == mask[p].nonzero().flatten().tolist()


def test_windows_are_small() -> None:
    """At the paper's grid of 1024 codes (spec 2.3): W + 1, one column, 5 W + 6."""
    assert [key_store(kind, 32).width for kind in ("row", "column", "conv", "dense")] == [33, 32, 166, 1024]
