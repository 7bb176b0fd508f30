"""Random numbers by hashing: the published sequence, its moments, and rows that do not depend on their company."""

import numpy as np
import pytest
import torch

from pinxit.data.order import mix
from pinxit.functional import keyed
from pinxit.functional.draws import RowStreams

KEYS = torch.tensor([0, 1, 2**62 + 7, 2**63 - 1])


def test_words_are_splitmix64() -> None:
    """Seed 0 begins as its reference implementation does; other rows are checked against NumPy's unsigned integers."""
    assert [word % 2**64 for word in keyed.words(KEYS[:1], 0, 2)[0].tolist()] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
    ]
    for row, key in enumerate(KEYS.tolist()):
        states = np.uint64(key) + np.arange(5, 12, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        assert keyed.words(KEYS, 5, 7)[row].numpy().astype(np.uint64).tolist() == mix(states).tolist()


def test_numbers_follow_their_distributions() -> None:
    stats = pytest.importorskip("scipy.stats")
    keys = torch.arange(1000, 1004)
    even, normal = keyed.uniform(keys, 0, 50_000), keyed.normal(keys, 0, 50_001)
    assert even.shape == (4, 50_000) and normal.shape == (4, 50_001) and even.dtype == normal.dtype == torch.float32
    for row in range(4):
        assert stats.kstest(even[row].numpy(), "uniform").pvalue > 1e-3
        assert stats.kstest(normal[row].numpy(), "norm").pvalue > 1e-3
    assert even.min() >= 0 and even.max() < 1 and normal.isfinite().all()
    for numbers in (even, normal):
        assert torch.corrcoef(numbers).fill_diagonal_(0).abs().max() < 0.02
    half = normal[:, :50_000].reshape(4, 2, 25_000)  # the two numbers made of one word
    assert (half[:, 0] * half[:, 1]).mean().abs() < 0.01 and (
        (half[:, 0] ** 2 * half[:, 1] ** 2).mean() - 1
    ).abs() < 0.05


def test_a_row_depends_on_its_key_and_on_nothing_else() -> None:
    keys = [5, 77, 123_456]
    together = RowStreams(keys, hashed=True)
    alone = [RowStreams([key], hashed=True) for key in keys]
    for draw, shape in (("normal", (3, 5)), ("uniform", (17,)), ("normal", ()), ("uniform", (0,)), ("normal", (2,))):
        parts = torch.cat([getattr(one, draw)(1, *shape) for one in alone])
        found = getattr(together, draw)(3, *shape)
        assert found.shape == (3, *shape) and torch.equal(found, parts)


def test_no_number_is_given_twice() -> None:
    streams = RowStreams([9], hashed=True)
    drawn = torch.cat([streams.uniform(1, 1000)[0], streams.uniform(1, 1000)[0]])
    assert len(set(drawn.tolist())) == 2000
    first, second = streams.normal(1, 999)[0], streams.normal(1, 999)[0]
    assert len(set(torch.cat([first, second]).tolist())) == 1998


def test_a_gpu_is_drawn_for_by_hashing_and_a_cpu_by_generators() -> None:
    assert RowStreams([1], "cuda").hashed and not RowStreams([1], "cpu").hashed and not RowStreams([1], "meta").hashed


def test_on_a_cpu_every_row_is_its_own_generators() -> None:
    """Number after number, in any shape, and nothing is drawn where there is nothing to fill."""
    streams, alone = RowStreams([5, 6]), [torch.Generator().manual_seed(key) for key in (5, 6)]
    assert streams.uniform(2, 0).shape == (2, 0)
    expected = torch.stack([torch.empty(6).normal_(generator=one) for one in alone])
    assert torch.equal(streams.normal(2, 2, 3).flatten(1), expected)
    assert torch.equal(streams.uniform(2), torch.cat([torch.empty(1).uniform_(generator=one) for one in alone]))
