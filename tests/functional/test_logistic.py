"""Logistic regression against its optimality condition and another minimiser."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pinxit.functional.logistic import Linear, fit_logistic


def data(rows: int = 60, width: int = 4, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(rows) % classes
    return torch.randn(rows, width, generator=generator) + F.one_hot(y, width).float(), y


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3])
def test_the_gradient_is_zero_at_the_minimum(strength: float) -> None:
    x, y = data()
    found = fit_logistic(x, y, 3, strength)
    error = found(x.double()).softmax(1) - F.one_hot(y, 3)
    assert (strength * error.T @ x.double() + found.weight).abs().max() < 1e-3 * max(1, strength)
    assert error.sum(0).abs().max() < 1e-3 * len(x)


def test_equals_another_minimiser() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    x, y = data()

    def loss(flat: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        line = Linear(torch.from_numpy(flat[:12]).view(3, 4), torch.from_numpy(flat[12:]))
        return float(0.7 * F.cross_entropy(line(x.double()), y, reduction="sum") + 0.5 * line.weight.square().sum())

    expected = optimize.minimize(loss, np.zeros(15), method="BFGS", tol=1e-8).x
    found = fit_logistic(x, y, 3, 0.7)
    assert np.allclose(found.weight.numpy().ravel(), expected[:12], atol=1e-3)
    warm = fit_logistic(x, y, 3, 0.7, start=fit_logistic(x, y, 3, 100.0))
    torch.testing.assert_close(warm.weight, found.weight, atol=1e-4, rtol=1e-3)
