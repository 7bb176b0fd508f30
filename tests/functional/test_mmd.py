"""CMMD against closed forms, against a plain sum, and against what it must not do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pinxit.errors import UsageError
from pinxit.functional.mmd import SCALE, SIGMA, cmmd


def normal(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel(x: Tensor, y: Tensor) -> float:
    return math.exp(-float((x - y).square().sum()) / (2 * SIGMA**2))


def test_two_heaps_have_a_closed_form() -> None:
    one, other = torch.tensor([[1.0, 0.0]] * 5), torch.tensor([[0.0, 1.0]] * 5)
    assert cmmd(one, other) == pytest.approx(2 * 1000 * (1 - math.exp(-2 / 200)), rel=1e-9)


def test_it_is_the_pairwise_sum_without_twins() -> None:
    x, y = (normalize(normal(6, 4, seed), dim=1) for seed in (0, 1))
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    sums = [kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i]) for i, j in pairs]
    assert cmmd(x, y) == pytest.approx(SCALE * sum(sums) / len(sums), rel=1e-6)
    assert cmmd(x, y) == pytest.approx(cmmd(y, x)) == pytest.approx(cmmd(x.flip(0), y.flip(0)))


def test_gaussians_of_known_distance() -> None:
    width, moved, wide = 4, 6.0, SIGMA**2
    shift = torch.tensor([moved, 0.0, 0.0, 0.0])
    expected = 2 * (wide / (wide + 2)) ** (width / 2) * (1 - math.exp(-(moved**2) / (2 * (wide + 2))))
    found = cmmd(normal(1500, width, 0), normal(1500, width, 1) + shift)
    assert found == pytest.approx(SCALE * expected, rel=0.1)


def test_equal_sets_are_at_zero_and_like_ones_around_it() -> None:
    x = normalize(normal(20, 8, 0), dim=1)
    assert cmmd(x, x) == 0.0
    found = [
        cmmd(normalize(normal(10, 8, 2 * s), dim=1), normalize(normal(10, 8, 2 * s + 1), dim=1)) for s in range(99)
    ]
    spread = torch.tensor(found).std().item()
    assert abs(sum(found) / 99) < 3 * spread / 99**0.5, "the biased estimator would stand far above 0"
    assert min(found) < 0 < max(found)


def test_it_grows_as_a_set_moves_away() -> None:
    x, other, way = (normalize(normal(30, 8, seed), dim=1) for seed in (0, 1, 2))
    found = [cmmd(normalize(x + step * way[:1], dim=1), other) for step in (0.0, 0.3, 0.6, 1.2)]
    assert found == sorted(found) and found[-1] > 1


def test_small_distances_survive_single_precision() -> None:
    x = normalize(normal(16, 8, 3), dim=1)
    near = normalize(x + 1e-3 * normal(16, 8, 4) + 1e-3, dim=1)
    assert cmmd(x.float(), near.float()) == pytest.approx(cmmd(x, near), rel=1e-2)


def test_sets_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UsageError, match="two pictures or more"):
        cmmd(torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(UsageError, match="not 3 and 2"):
        cmmd(torch.ones(3, 4), torch.ones(2, 4))
    with pytest.raises(UsageError, match=r"of one CLIP, not \[3, 4\] and \[3, 2\]"):
        cmmd(torch.ones(3, 4), torch.ones(3, 2))
