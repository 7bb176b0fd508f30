"""The logit-Laplace likelihood against closed forms (spec: DALL-E appendix A.3)."""

from __future__ import annotations

import math

import pytest
import torch

from pinxit.functional.laplace import dvae_objective, logit_laplace_nll, logit_normal_nll, mse, phi, psnr, unphi


def test_phi_round_trip_is_exact_on_every_byte() -> None:
    grey = torch.arange(256)
    pixels = grey / 255
    assert torch.equal((unphi(phi(pixels)) * 255).round().long(), grey)
    assert torch.equal((unphi(phi(pixels)) * 255).round().to(torch.uint8).long(), grey)
    ends = phi(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends, torch.tensor([0.1, 0.9]))
    assert torch.equal(unphi(torch.tensor([0.0, 0.05, 1.0])), torch.tensor([0.0, 0.0, 1.0]))


@pytest.mark.parametrize("mu", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize("b", [0.1, 0.5, 0.9])
def test_density_integrates_to_one(mu: float, b: float) -> None:
    y = torch.linspace(0, 1, 2_000_001, dtype=torch.float64)[1:-1]
    density = torch.exp(-logit_laplace_nll(y, torch.tensor(mu).double(), torch.tensor(math.log(b)).double()))
    assert float(torch.trapezoid(density, y)) == pytest.approx(1, abs=1e-3)


def test_nll_by_hand() -> None:
    y, mu, b = 0.3, 0.5, 0.2
    density = math.exp(-abs(math.log(y / (1 - y)) - mu) / b) / (2 * b * y * (1 - y))
    found = logit_laplace_nll(*(torch.tensor(v, dtype=torch.float64) for v in (y, mu, math.log(b))))
    assert float(found) == pytest.approx(-math.log(density), rel=1e-12)


def test_objective_divides_the_sums_by_the_number_of_values() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, 3, 4, 4, generator=generator)
    mu, ln_b = torch.randn(2, 2, 3, 4, 4, generator=generator)
    kl = torch.tensor([3.0, 5.0])
    summed = logit_laplace_nll(phi(pictures), mu, ln_b).sum((1, 2, 3)) + 6.6 * kl
    torch.testing.assert_close(dvae_objective(pictures, mu, ln_b, kl, beta=6.6), (summed / 48).mean())
    normal = logit_normal_nll(phi(pictures), mu).sum((1, 2, 3)) + 6.6 * kl
    torch.testing.assert_close(dvae_objective(pictures, mu, ln_b, kl, 6.6, "normal"), (normal / 48).mean())


def test_reconstruction_measures() -> None:
    pictures = torch.tensor([[0.0, 0.5, 1.0]])
    exact = torch.logit(phi(pictures))
    assert float(mse(pictures, exact)) == pytest.approx(0, abs=1e-12)
    assert float(mse(pictures, torch.zeros(1, 3))) == pytest.approx(0.5 / 3)  # mu = 0 is mid-grey
    assert psnr(0.01) == pytest.approx(20) and psnr(0.0) == math.inf


def test_logit_normal_integrates_to_one_and_pulls_evenly() -> None:
    y = torch.linspace(1e-6, 1 - 1e-6, 400_001, dtype=torch.float64)
    density = torch.exp(-logit_normal_nll(y, torch.tensor(0.3, dtype=torch.float64)))
    assert torch.trapezoid(density, y).item() == pytest.approx(1, abs=1e-3)
    mu = torch.zeros(2, requires_grad=True)
    logit_normal_nll(torch.sigmoid(torch.tensor([1.0, 2.0])), mu).sum().backward()  # type: ignore[no-untyped-call]
    assert mu.grad is not None and torch.allclose(mu.grad, torch.tensor([-1.0, -2.0]), atol=1e-6)
