"""What diffusion networks are trained on, against values worked out by hand and laws they must keep."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pinxit.functional.diffusion import Prediction, betas, log_snr_of_sigma, q_sample, v_from
from pinxit.functional.diffusion_losses import (
    as_v,
    gaussian_kl,
    learned_range_loss,
    pixel_log_likelihood,
    squared_error,
    variational_bound,
    weight_for,
)
from pinxit.functional.posterior import ScheduleCoefficients
from tests.functional.helpers import eps_from_x0

quick = settings(max_examples=40, deadline=None)


def normal(seed: int, count: int = 3) -> Tensor:
    return torch.randn(count, 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_squared_error_by_hand() -> None:
    told = torch.tensor([[1.0, 3.0], [0.0, 0.0]])[:, :, None, None]
    expected = torch.tensor([[0.0, 1.0], [0.0, 2.0]])[:, :, None, None]
    assert squared_error(told, expected).tolist() == [2.5, 2.0]
    assert squared_error(told, expected, torch.tensor([2.0, 0.5], dtype=torch.float64)).tolist() == [5.0, 1.0]


def test_weights_by_hand() -> None:
    log_snr = torch.tensor([0.1, 1.0, 500.0], dtype=torch.float64).log()
    assert as_v(log_snr).tolist() == pytest.approx([1.1, 2, 400])
    assert weight_for("x0", as_v(log_snr), log_snr).tolist() == pytest.approx([1.1, 2, 400])
    assert weight_for("eps", as_v(log_snr), log_snr).tolist() == pytest.approx([11, 2, 400 / 500])
    assert weight_for("v", as_v(log_snr), log_snr).tolist() == pytest.approx([1, 1, 400 / 501])


@quick
@given(levels=st.lists(st.floats(0.02, 50), min_size=3, max_size=3))
def test_one_error_weighs_the_same_whatever_is_predicted(levels: list[float]) -> None:
    sigma_B = torch.tensor(levels, dtype=torch.float64)
    log_snr_B = log_snr_of_sigma(sigma_B)
    x0, noise, told = normal(0), normal(1), normal(2)
    x_t = q_sample(x0, noise, sigma_B)
    told_noise = eps_from_x0(x_t, told, sigma_B)
    pairs: dict[Prediction, tuple[Tensor, Tensor]] = {
        "x0": (told, x0),
        "eps": (told_noise, noise),
        "v": (v_from(told, told_noise, sigma_B), v_from(x0, noise, sigma_B)),
    }
    losses = [squared_error(*pair, weight_for(kind, as_v(log_snr_B), log_snr_B)) for kind, pair in pairs.items()]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses[2], losses[0], rtol=1e-4, atol=1e-6)


def test_kl_equals_torchs() -> None:
    m1, l1, m2, l2 = (normal(seed) for seed in range(4))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(m1, (l1 / 2).exp()), torch.distributions.Normal(m2, (l2 / 2).exp())
    )
    torch.testing.assert_close(gaussian_kl(m1, l1, m2, l2), expected)


@pytest.mark.parametrize("log_variance", [-14.0, -6.0, 0.0, 3.0])
@pytest.mark.parametrize("mean", [-1.2, 0.1])
def test_the_pixels_share_all_of_the_probability(mean: float, log_variance: float) -> None:
    pixels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    chances = pixel_log_likelihood(pixels, torch.full_like(pixels, mean), torch.full_like(pixels, log_variance)).exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-9)


def test_pixel_likelihood_by_hand() -> None:
    """One standard deviation is one bin, the mean sits on pixel 200: +-1/2, and up to +-3/2 for its neighbour."""
    bins = 2 / 255
    x, mean = torch.tensor([200.0, 201.0]).double() / 127.5 - 1, torch.full((2,), 200 / 127.5 - 1).double()
    found = pixel_log_likelihood(x, mean, torch.full((2,), 2 * math.log(bins)).double())
    half, more = math.erf(0.5 / math.sqrt(2)), math.erf(1.5 / math.sqrt(2))
    assert found.exp().tolist() == pytest.approx([half, (more - half) / 2], rel=1e-5)


def test_the_bound_by_hand() -> None:
    """Two steps of beta 0.1 and 0.5, one pixel: every number of the paper's formulas written out."""
    steps = ScheduleCoefficients.of(torch.tensor([0.1, 0.5], dtype=torch.float64))
    x0, eps, fraction = 100 / 127.5 - 1, 0.4, 0.6
    one = torch.ones(1, 1, 1, 1)
    # t = 1: abar 0.45 after 0.9
    x_t = 0.8
    told = (x_t - math.sqrt(0.55) * eps) / math.sqrt(0.45)
    variance = 0.5 * 0.1 / 0.55
    from_x0 = math.sqrt(0.9) * 0.5 / 0.55
    learned = 0.8 * math.log(0.5) + 0.2 * math.log(variance)
    gap = (from_x0 * (told - x0)) ** 2
    kl = 0.5 * (learned - math.log(variance) - 1 + (variance + gap) / math.exp(learned))
    found = variational_bound(eps * one, fraction * one, x0 * one, x_t * one, torch.tensor([1]), steps)
    assert found.item() == pytest.approx(kl / math.log(2), rel=1e-5)
    # t = 0: the mean is the told picture itself, the least variance borrowed from t = 1
    x_t = -0.15
    told = (x_t - math.sqrt(0.1) * eps) / math.sqrt(0.9)
    std = math.exp((0.8 * math.log(0.1) + 0.2 * math.log(variance)) / 2)
    edges = [math.erf((x0 - told + side / 255) / std / math.sqrt(2)) / 2 for side in (1, -1)]
    found = variational_bound(eps * one, fraction * one, x0 * one, x_t * one, torch.tensor([0]), steps)
    assert found.item() == pytest.approx(-math.log2(edges[0] - edges[1]), rel=1e-4)


def test_a_perfect_prediction_costs_nothing() -> None:
    steps = ScheduleCoefficients.of(betas("cosine", 100))
    t_B = torch.tensor([1, 50, 99])
    x0, noise = normal(0).tanh(), normal(1)
    x_t = q_sample(x0, noise, steps.sigma[t_B])
    bound = variational_bound(noise, torch.full_like(x0, -1), x0, x_t, t_B, steps)
    assert bound.abs().max() < 1e-3
    assert (variational_bound(noise, torch.zeros_like(x0), x0, x_t, t_B, steps) > bound).all()


def test_the_bound_teaches_the_variance_and_the_square_the_mean() -> None:
    T = 500
    steps = ScheduleCoefficients.of(betas("linear", T))
    t_B = torch.tensor([0, 10, T - 1])
    x0, noise = normal(0).tanh(), normal(1)
    eps, fraction = normal(2).requires_grad_(), normal(3).tanh().requires_grad_()
    x_t = q_sample(x0, noise, steps.sigma[t_B])
    loss = learned_range_loss(eps, fraction, x0, x_t, noise, t_B, steps)
    assert loss.shape == (3,)
    bound = variational_bound(eps, fraction, x0, x_t, t_B, steps)
    torch.testing.assert_close(loss, squared_error(eps, noise) + bound * T / 1000)
    taught = torch.autograd.grad(loss.sum(), [eps, fraction], retain_graph=True)
    square = torch.autograd.grad(squared_error(eps, noise).sum(), eps)[0]
    torch.testing.assert_close(taught[0], square)
    half = torch.autograd.grad(bound.sum(), fraction)[0] * T / 1000
    torch.testing.assert_close(taught[1], half)
    assert taught[1].abs().max() > 0


def test_no_pixel_is_held_less_likely_than_a_trillionth() -> None:
    x, mean = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert pixel_log_likelihood(x, mean, -14 * mean).item() == pytest.approx(math.log(1e-12), abs=1e-9)
