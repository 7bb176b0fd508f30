"""Codes: the three relaxations against closed forms, and code usage by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pinxit.functional.codes import (
    argmin_rows,
    code_usage,
    codebook_sums,
    fsq_bound,
    fsq_digits,
    fsq_index,
    fsq_vector,
    gumbel_noise,
    gumbel_softmax,
    kl_to_uniform,
    nearest_code,
    straight_through,
)
from pinxit.functional.draws import OneStream

LEVELS = (8, 5, 3, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_gumbel_noise_has_the_right_moments() -> None:
    noise = gumbel_noise(torch.empty(500_000), OneStream(seeded()))
    assert float(noise.mean()) == pytest.approx(0.57722, abs=0.01)
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, abs=0.02)


def test_cold_gumbel_softmax_is_the_argmax_of_logits_plus_noise() -> None:
    logits = torch.randn(2, 9, 4, 4, generator=seeded(1))
    soft = gumbel_softmax(logits, 1e-4, OneStream(seeded(2)), dim=1)
    chosen = (logits + gumbel_noise(logits, OneStream(seeded(2)))).argmax(1)
    hard = torch.nn.functional.one_hot(chosen, 9).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(soft, hard, atol=1e-3, rtol=0)
    assert not torch.equal(chosen, logits.argmax(1))


def test_gumbel_softmax_samples_the_softmax() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0])
    drawn = gumbel_softmax(logits.expand(200_000, 3), 0.01, OneStream(seeded()), dim=1).argmax(1)
    torch.testing.assert_close(torch.bincount(drawn) / 200_000, logits.softmax(0), atol=0.005, rtol=0)


def test_without_draws_there_is_no_noise() -> None:
    logits = torch.randn(5, 7, generator=seeded())
    assert torch.equal(gumbel_softmax(logits, 0.5, None, dim=1), (logits / 0.5).softmax(1))


def test_kl_to_uniform_between_nothing_and_ln_k() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [60.0, 0.0, 0.0, 0.0], [0.0, 0.0, -60.0, -60.0]])
    torch.testing.assert_close(kl_to_uniform(logits, 1), torch.tensor([0.0, math.log(4), math.log(2)]))


def test_straight_through_has_one_value_and_the_other_gradient() -> None:
    x = torch.tensor([0.2, 1.7], requires_grad=True)
    y = straight_through(x * 3, x.detach().round())
    assert torch.equal(y.detach(), torch.tensor([0.0, 2.0]))
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.tensor([3.0, 3.0]))


def test_nearest_code_is_the_smallest_distance() -> None:
    vectors, codebook = torch.randn(50, 6, generator=seeded()), torch.randn(13, 6, generator=seeded(1))
    assert torch.equal(nearest_code(vectors, codebook), torch.cdist(vectors, codebook).argmin(1))


def test_codebook_sums_by_hand() -> None:
    counts, sums = codebook_sums(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([2, 0, 2]), 3)
    assert counts.tolist() == [1, 0, 2]
    assert sums.tolist() == [[3, 4], [0, 0], [6, 8]]


def test_fsq_index_and_digits_are_a_bijection() -> None:
    codes = torch.arange(math.prod(LEVELS)).view(-1, 8, 6)
    digits = fsq_digits(codes, LEVELS)
    assert torch.equal(fsq_index(digits, LEVELS), codes)
    rows = digits.movedim(1, -1).reshape(-1, len(LEVELS))
    assert len(torch.unique(rows, dim=0)) == math.prod(LEVELS)
    assert torch.equal(rows.amax(0), torch.tensor(LEVELS) - 1.0)
    assert float(rows.min()) == 0


def test_fsq_bound_reaches_every_level_and_no_other() -> None:
    z = torch.linspace(-20, 20, 4001).view(1, 1, -1).expand(1, len(LEVELS), -1)
    digits = fsq_bound(z, LEVELS).round()
    for channel, count in enumerate(LEVELS):
        assert torch.unique(digits[0, channel]).tolist() == list(range(count))


def test_fsq_vectors_are_even_steps_from_minus_one_to_one() -> None:
    digits = torch.arange(5.0).view(1, 1, 5)
    assert fsq_vector(digits, (5,)).flatten().tolist() == [-1, -0.5, 0, 0.5, 1]


def test_code_usage_by_hand() -> None:
    share, perplexity = code_usage(torch.tensor([[3, 3], [5, 5]]), 8)
    assert share == pytest.approx(2 / 8)
    assert perplexity == pytest.approx(2)
    assert code_usage(torch.arange(8), 8) == pytest.approx((1, 8))
    assert code_usage(torch.zeros(9, dtype=torch.int64), 8) == pytest.approx((1 / 8, 1))


@pytest.mark.parametrize("shape", [(7, 256), (5, 4096), (3, 100), (1, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_argmin_rows_finds_the_least(shape: tuple[int, int], dtype: torch.dtype) -> None:
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(shape[1])).to(dtype)
    found = argmin_rows(scores)
    assert torch.equal(scores.gather(1, found[:, None])[:, 0], scores.amin(1))
    if dtype == torch.float32:  # 16 bits hold equal least values
        assert torch.equal(found, scores.argmin(1))
