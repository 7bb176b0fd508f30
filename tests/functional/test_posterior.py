"""One step back from noise against brute force, and the learned range between its ends."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinxit.functional.diffusion import Schedule, betas
from pinxit.functional.posterior import ScheduleCoefficients, interpolate, posterior_mean, posterior_variances

quick = settings(max_examples=40, deadline=None)


@quick
@given(
    sigma=st.floats(0.05, 50),
    share=st.floats(0.05, 0.95),
    x=st.floats(-3, 3),
    x0=st.floats(-1, 1),
)
def test_the_posterior_is_the_product_of_two_gaussians(sigma: float, share: float, x: float, x0: float) -> None:
    """By numbers on a fine grid: q(x_next | x0) q(x | x_next), normalised."""
    following = share * sigma
    added = sigma**2 - following**2
    low, high = min(x, x0) - 8 * following, max(x, x0) + 8 * following
    grid = torch.linspace(low, high, 100_001, dtype=torch.float64)
    mass = (-((grid - x0) ** 2) / (2 * following**2) - (x - grid) ** 2 / (2 * added)).softmax(0)
    mean = (mass * grid).sum()
    variance = (mass * (grid - mean) ** 2).sum()
    found = posterior_mean(torch.tensor(x).double(), torch.tensor(x0).double(), sigma, following)
    assert found.item() == pytest.approx(mean.item(), abs=1e-4 * sigma)
    assert posterior_variances(sigma, following)[0] == pytest.approx(variance.item(), rel=1e-3)


@quick
@given(sigma=st.floats(1e-2, 1e3), share=st.floats(0, 0.99))
def test_the_greater_variance_is_that_of_unit_data(sigma: float, share: float) -> None:
    following = share * sigma
    unit, wider = 1 + following**2, 1 + sigma**2  # variances of x_next and of x; their covariance is unit as well
    low, high = posterior_variances(sigma, following)
    assert high == pytest.approx(unit - unit**2 / wider, rel=1e-6, abs=1e-12)
    assert 0 <= low <= high


def test_a_step_to_zero_is_the_picture_itself() -> None:
    x, x0 = torch.full((1, 1, 2, 2), 1e9), torch.rand(1, 1, 2, 2)
    assert torch.equal(posterior_mean(x, x0, 1e4, 0.0), x0)
    assert posterior_variances(1e4, 0.0)[0] == 0


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_discrete_steps_are_steps_in_the_sigma_scale(schedule: Schedule) -> None:
    steps = ScheduleCoefficients.of(betas(schedule, 100))
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(99, 1, 2, 2, generator=generator, dtype=torch.float64)
    x_t = torch.randn(99, 1, 2, 2, generator=generator, dtype=torch.float64)
    found = steps.posterior_mean(x0, x_t, torch.arange(1, 100))
    for t in range(1, 100):
        sigma, following = steps.sigma[t].item(), steps.sigma[t - 1].item()
        root = math.sqrt(1 + following**2)  # 1 / sqrt(abar_next): from one scale to the other
        wide = posterior_mean(x_t[t - 1] * math.sqrt(1 + sigma**2), x0[t - 1], sigma, following)
        torch.testing.assert_close(found[t - 1], wide / root)
        low, high = posterior_variances(sigma, following)
        assert steps.log_variance[t].exp().item() == pytest.approx(low / root**2, rel=1e-6)
        assert steps.beta[t].item() == pytest.approx(high / root**2, rel=1e-6)


def test_the_first_step_borrows_the_variance_of_the_second() -> None:
    """That of step 0 is 0, and its logarithm no number."""
    steps = ScheduleCoefficients.of(betas("linear"))
    assert steps.log_variance[0] == steps.log_variance[1]
    assert steps.log_variance.isfinite().all()
    assert steps.from_x0[0].item() == pytest.approx(1, abs=1e-12)
    assert steps.from_xt[0] == 0


def test_the_learned_range_ends_at_the_posterior_and_at_beta() -> None:
    steps = ScheduleCoefficients.of(betas("cosine", 50))
    t_B = torch.tensor([0, 1, 49])
    fraction = torch.ones(3, 1, 2, 2, dtype=torch.float64)
    for value, wanted_T in ((-1, steps.log_variance), (1, steps.beta.log())):
        found = steps.learned_log_variance(value * fraction, t_B)
        torch.testing.assert_close(found, wanted_T[t_B][:, None, None, None].expand_as(fraction))
    middle = steps.learned_log_variance(0 * fraction, t_B)[:, 0, 0, 0]
    torch.testing.assert_close(middle, (steps.log_variance + steps.beta.log())[t_B] / 2)


def test_interpolation_goes_beyond_its_ends() -> None:
    """A network may say more than 1: nothing is clipped, as in training."""
    assert interpolate(torch.tensor([-1.0, 0.0, 1.0, 3.0]), 2.0, 4.0).tolist() == [2, 3, 4, 6]
