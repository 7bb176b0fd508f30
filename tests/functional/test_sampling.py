"""Drawing tokens: what may be drawn, how often, and from whose randomness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pinxit.functional.sampling import FEW, draw, guide, keep_top_k, keep_top_p, normals, sample, uniforms

quick = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def logits_of(seed: int, rows: int = 3, codes: int = 17, distinct: int = 9) -> Tensor:
    """Random logits with ties."""
    return torch.randint(-distinct, distinct, (rows, codes), generator=torch.Generator().manual_seed(seed)) / 4


def ones(rows: int) -> Tensor:
    return torch.ones(rows)


def test_uniforms_are_a_function_of_seed_candidate_and_position() -> None:
    assert torch.equal(uniforms(7, 3, 100)[:10], uniforms(7, 3, 10))
    drawn = [uniforms(seed, candidate, 8) for seed in (0, 1, 2**63, -1) for candidate in (0, 1, 2)]
    assert len({tuple(one.tolist()) for one in drawn}) == 12


def test_uniforms_never_change() -> None:
    """Pictures are named by their seed for ever, so these numbers may not move with NumPy's or torch's version."""
    assert (uniforms(0, 0, 3) * 2**24).tolist() == [193722, 4052523, 1869415]


def test_uniforms_are_uniform() -> None:
    drawn = torch.cat([uniforms(1, candidate, 1000) for candidate in range(50)])
    assert drawn.dtype == torch.float32
    assert drawn.max() < 1
    counts = torch.histc(drawn, 100, 0, 1)
    assert counts.sum() == len(drawn), "none below zero"
    chi_square = float(((counts - 500) ** 2 / 500).sum())
    assert 58 < chi_square < 149  # 99 degrees of freedom, 1 in 1000 on either side


@quick
@given(seeds, st.floats(0, 8))
def test_guidance_is_a_straight_line(seed: int, scale: float) -> None:
    c, u = logits_of(seed), logits_of(seed + 1)
    torch.testing.assert_close(guide(c, u, ones(3) * scale), u + scale * (c - u))


def test_guidance_of_one_is_the_identity_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    c, u = torch.randn(4, 50, generator=generator) * 9, torch.randn(4, 50, generator=generator)
    assert torch.equal(guide(c, u, ones(4)), c)


@quick
@given(seeds, st.integers(0, 20))
def test_top_k_keeps_the_k_likeliest(seed: int, k: int) -> None:
    logits = logits_of(seed)
    kept = keep_top_k(logits, torch.full((3,), k))
    for row, left in zip(logits, kept, strict=True):
        ordered = row.sort(descending=True).values
        least = ordered[min(k, len(row)) - 1] if k else row.min()
        assert torch.equal(left, torch.where(row >= least, row, -torch.inf))


@quick
@given(seeds, st.floats(0.01, 1.0))
def test_top_p_keeps_the_fewest_that_reach_p(seed: int, p: float) -> None:
    logits = logits_of(seed)
    kept = keep_top_p(logits, torch.full((3,), p)) > -torch.inf
    for row, left in zip(logits.double(), kept, strict=True):
        chance = row.softmax(0)
        assert left.any()
        assert chance[left].sum() >= min(p, 1 - 1e-6) - 1e-6
        least = row[left].min()
        assert (row[~left] < least).all()  # whoever is dropped is less likely than all who stay
        more = row > least
        assert not more.any() or chance[more].sum() < p + 1e-6  # without the last one p is not reached


def test_no_filter_changes_nothing() -> None:
    logits = logits_of(5)
    assert torch.equal(keep_top_p(logits, ones(3)), logits)
    assert torch.equal(keep_top_k(logits, torch.zeros(3, dtype=torch.long)), logits)


@quick
@given(seeds, st.floats(0, 1, exclude_max=True, width=32))
def test_draw_inverts_the_cumulative_distribution(seed: int, u: float) -> None:
    logits = logits_of(seed, rows=1)
    code = int(draw(logits, torch.tensor([u])))
    mass = np.cumsum(logits.double().softmax(1).numpy()[0])
    assert mass[code] >= u - 1e-6
    assert code == 0 or mass[code - 1] <= u + 1e-6


def test_impossible_codes_are_never_drawn() -> None:
    """A uniform number next to 1 once fell off the end of the vocabulary, onto a code that top-p had ruled out."""
    logits = torch.full((3, 1000), -torch.inf)
    logits[:, 100:500] = torch.randn(3, 400, generator=torch.Generator().manual_seed(0))
    for u in (0.0, 1 - 2.0**-24):
        drawn = draw(logits, torch.full((3,), u))
        assert (logits[torch.arange(3), drawn] > -torch.inf).all()


def test_frequencies_follow_the_temperature() -> None:
    logits, count = torch.tensor([[1.0, 0.0, -1.0, 2.0]]).expand(20_000, 4), 20_000
    for temperature in (0.5, 1.0, 2.0):
        drawn = sample(logits, uniforms(3, 0, count), torch.full((count,), temperature), None, None)
        expected = (logits[0] / temperature).softmax(0) * count
        chi_square = float(((drawn.bincount(minlength=4) - expected) ** 2 / expected).sum())
        assert chi_square < 16.3  # 3 degrees of freedom, 1 in 1000


@quick
@given(seeds)
def test_temperature_zero_and_top_one_take_the_likeliest(seed: int) -> None:
    logits = torch.randn(5, 30, generator=torch.Generator().manual_seed(seed))
    u = uniforms(seed, 0, 5)
    assert torch.equal(sample(logits, u, torch.zeros(5), None, None), logits.argmax(1))
    assert torch.equal(sample(logits, u, ones(5), torch.ones(5, dtype=torch.long), None), logits.argmax(1))


@quick
@given(seeds)
def test_rows_do_not_see_each_other(seed: int) -> None:
    """A row that asks for no filter is the same beside one that does, and in any order."""
    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(seed))
    u, t = uniforms(seed, 1, 6), torch.tensor([1.0, 0.7, 0, 1, 1.3, 1])
    k, p = torch.tensor([0, 0, 0, 5, 0, 12]), torch.tensor([1, 1, 1, 1, 0.5, 1.0])
    together = sample(logits, u, t, k, p)
    assert torch.equal(together[:3], sample(logits[:3], u[:3], t[:3], None, None))
    back = torch.arange(5, -1, -1)
    assert torch.equal(together[back], sample(logits[back], u[back], t[back], k[back], p[back]))
    for row in range(6):
        one = slice(row, row + 1)
        assert torch.equal(together[one], sample(logits[one], u[one], t[one], k[one], p[one]))


@pytest.mark.parametrize("k", [1, FEW - 1, FEW, FEW + 1, 1500])
def test_top_k_of_many_codes_is_what_a_full_sort_would_keep(k: int) -> None:
    """Few codes are found by one way and many by another."""
    logits = torch.randn(3, 1500, generator=torch.Generator().manual_seed(k))
    k_S = torch.tensor([k, 0, max(1, k // 2)])
    kept = keep_top_k(logits, k_S).isfinite()
    assert kept.sum(1).tolist() == [k, 1500, max(1, k // 2)]
    order = logits.argsort(1, descending=True)
    assert kept[0][order[0, :k]].all() and kept[2][order[2, : max(1, k // 2)]].all()


def test_noise_is_a_function_of_seed_candidate_and_stage() -> None:
    """NumPy's Philox with both as its key and the stage, from -1 on, at the head of its counter."""
    for seed, candidate, stage in ((0, 0, 0), (-1, 3, 1), (7, 2**64 + 1, 1000)):
        key = np.array([seed % 2**64, candidate % 2**64], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(counter=[0, 0, 0, stage + 1], key=key))
        stream = normals(seed, candidate, stage, (2, 3))
        for _ in range(2):
            found = next(stream)
            assert found.dtype == torch.float32 and np.array_equal(found, rng.standard_normal((2, 3), np.float32))
        words = np.random.Philox(counter=[0, 0, 0, stage + 1], key=key).random_raw(4) >> np.uint64(40)
        assert (uniforms(seed, candidate, 4, stage) * 2**24).tolist() == words.tolist()
    assert torch.equal(uniforms(5, 1, 4), uniforms(5, 1, 4, -1))


def test_ties_and_edges_of_a_draw() -> None:
    """Four codes a quarter each: a number on an edge is the code after it; without temperature the first is taken."""
    logits = torch.zeros(5, 4)
    assert draw(logits, torch.tensor([0.0, 0.25, 0.5, 0.75, 0.749])).tolist() == [0, 1, 2, 3, 2]
    assert sample(logits, torch.full((5,), 0.9), torch.zeros(5)).tolist() == [0] * 5
    assert sample(logits, torch.full((5,), 0.9), torch.zeros(5), greedy=False).tolist() == [3] * 5
