from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinxit.data.order import order, order_batch
from pinxit.errors import UsageError

patient = settings(deadline=None)  # a busy machine is no failure
GOLDEN = [609182454, 727432947, 523926794, 982673927, 451694811]
lengths = st.integers(1, 300)
seeds = st.integers(-(2**70), 2**70)


@patient
@given(length=lengths, seed=seeds, epoch=st.integers(0, 2**40), group=st.integers(1, 9))
def test_every_epoch_is_a_permutation(length: int, seed: int, epoch: int, group: int) -> None:
    indices = order_batch(epoch * length, length, length, seed, group)
    assert np.array_equal(np.sort(indices), np.arange(length))


@patient
@given(length=lengths, seed=seeds, group=st.integers(1, 9), start=st.integers(0, 1000), count=st.integers(0, 9))
def test_a_batch_is_the_single_items_in_a_row(length: int, seed: int, group: int, start: int, count: int) -> None:
    batch = order_batch(start, count, length, seed, group)
    assert batch.dtype == np.int64
    assert batch.tolist() == [order(start + i, length, seed, group) for i in range(count)]


@patient
@given(length=st.integers(1, 200), group=st.integers(1, 9), seed=seeds)
def test_groups_stay_together_and_in_order(length: int, group: int, seed: int) -> None:
    indices = order_batch(length, length, length, seed, group)
    for start in range(0, length, group):
        run = indices[start : start + group]
        assert run[0] % group == 0
        assert np.array_equal(run, run[0] + np.arange(len(run)))


def test_numbers_of_numpy_are_numbers() -> None:
    position, length, seed = np.int64(30), np.int64(20), np.uint64(2**64 - 5)
    assert order_batch(position, 9, length, seed).tolist() == order_batch(30, 9, 20, -5).tolist()  # type: ignore[arg-type]


def test_seeds_and_epochs_differ() -> None:
    streams = [order_batch(epoch * 100, 100, 100, seed) for seed in (0, 1, 2**64 - 1) for epoch in (0, 1, 2)]
    assert len({stream.tobytes() for stream in streams}) == len(streams)


def test_every_place_sees_every_item_about_equally_often() -> None:
    """A chi-square over (place, item) of 2,000 epochs of 40 items; its mean per cell is 1 for uniform draws."""
    epochs, length = 2000, 40
    indices = order_batch(0, epochs * length, length, 7).reshape(epochs, length)
    counts = np.stack([np.bincount(indices[:, place], minlength=length) for place in range(length)])
    expected = epochs / length
    assert 0.85 < float(((counts - expected) ** 2 / expected).mean()) < 1.15


def test_neighbours_do_not_stay_neighbours() -> None:
    indices = order_batch(0, 10_000, 10_000, 3)
    assert np.mean(np.abs(np.diff(indices)) == 1) < 0.002


def test_the_order_never_changes_between_versions() -> None:
    """Runs are resumed by position alone, so a change here would silently repeat and skip data."""
    assert order_batch(0, 10, 10, 0).tolist() == [9, 0, 1, 2, 8, 7, 6, 3, 4, 5]
    assert order_batch(10**12, 5, 10**9 + 7, 42).tolist() == GOLDEN


@pytest.mark.parametrize("arguments", [(0, 1, 0, 0), (-1, 1, 5, 0), (0, -1, 5, 0), (0, 1, 5, 0, 0)])
def test_nothing_to_order_is_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        order_batch(*arguments)
