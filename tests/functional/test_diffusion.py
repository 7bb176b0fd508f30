"""Noise schedules against their closed forms and another implementation; conversions there and back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.diffusion import (
    Prediction,
    Schedule,
    betas,
    cumulative,
    even_sigmas,
    karras_sigmas,
    log_snr,
    log_snr_of_sigma,
    q_sample,
    sigma_at,
    sigma_of_abar,
    sigma_of_log_snr,
    target,
    time_of_log_snr,
    time_of_sigma,
    vp,
    x0_from,
)

quick = settings(max_examples=60, deadline=None)
schedules = pytest.mark.parametrize("schedule", ["cosine", "linear"])
sigmas = st.floats(1e-3, 1e4)


def pictures(seed: int = 0, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1, torch.randn(count, 3, 4, 4, generator=generator)


@pytest.mark.parametrize(("schedule", "name"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_betas_equal_diffusers(schedule: Schedule, name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(beta_schedule=name, beta_start=1e-4, beta_end=0.02)
    ours = betas(schedule)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours.float(), theirs.betas, atol=1e-8, rtol=2e-6)
    torch.testing.assert_close(cumulative(ours).float(), theirs.alphas_cumprod, atol=1e-8, rtol=2e-4)


def test_known_values() -> None:
    line, wave = cumulative(betas("linear")), cumulative(betas("cosine"))
    assert line[0].item() == pytest.approx(1 - 1e-4, abs=1e-12)
    assert line[-1].item() == pytest.approx(4.0358e-5, rel=1e-4)  # DDPM's "4e-5", section 4
    half = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert wave[499].item() == pytest.approx(half, rel=1e-9)
    assert betas("cosine").max().item() == 0.999


def test_any_number_of_linear_steps_adds_as_much_noise() -> None:
    few, many = cumulative(betas("linear", 250)), cumulative(betas("linear", 4000))
    assert few[124].log().item() == pytest.approx(many[1999].log().item(), rel=0.02)


@pytest.mark.parametrize(("schedule", "T"), [("linear", 20), ("cosine", 0)])
def test_too_few_steps_are_refused(schedule: Schedule, T: int) -> None:
    with pytest.raises(UsageError, match=f"not {T}"):
        betas(schedule, T)


@schedules
def test_the_continuous_schedule_is_the_limit_of_the_discrete(schedule: Schedule) -> None:
    """Apart from the cosine's start: its steps begin at a clean picture, its continuous form at log-SNR 8.8."""
    T = 4000
    times = (torch.arange(T, dtype=torch.float64) + 1) / T
    discrete = cumulative(betas(schedule, T))
    assert (1 / (1 + sigma_at(schedule, times) ** 2) - discrete).abs().max() < 5e-4


@schedules
@quick
@given(t=st.floats(0, 1))
def test_time_and_log_snr_are_inverse(schedule: Schedule, t: float) -> None:
    found = log_snr(schedule, t)
    assert -20 <= found <= 20
    assert time_of_log_snr(schedule, found).item() == pytest.approx(t, abs=1e-4)  # where it is cut at -20
    assert log_snr(schedule, time_of_log_snr(schedule, found)).item() == pytest.approx(found.item(), abs=1e-6)
    assert time_of_sigma(schedule, sigma_at(schedule, t)).item() == pytest.approx(t, abs=1e-4)


@schedules
def test_noise_beyond_a_schedule_is_at_its_ends(schedule: Schedule) -> None:
    assert time_of_log_snr(schedule, torch.tensor([-200.0, 200.0])).tolist() == pytest.approx([1.0, 0.0], abs=1e-12)


@schedules
def test_noise_grows_with_time(schedule: Schedule) -> None:
    levels = log_snr(schedule, torch.linspace(0, 1, 1001))
    assert levels.dtype == torch.float64
    assert (levels.diff() < 0).all()
    assert levels[0] > 8
    assert levels[-1] < -10


@quick
@given(sigma=sigmas)
def test_measures_of_noise_agree(sigma: float) -> None:
    abar = torch.tensor(1 / (1 + sigma**2), dtype=torch.float64)
    assert sigma_of_abar(abar).item() == pytest.approx(sigma, rel=1e-6)
    assert sigma_of_log_snr(log_snr_of_sigma(sigma)).item() == pytest.approx(sigma, rel=1e-9)
    assert log_snr_of_sigma(sigma).item() == pytest.approx((abar / (1 - abar)).log().item(), abs=1e-6)


def test_karras_sigmas_are_edms() -> None:
    found = karras_sigmas(18)
    assert len(found) == 19
    assert found[0] == pytest.approx(80)
    assert found[-2] == pytest.approx(0.002)
    assert found[-1] == 0
    root = torch.tensor(found[:-1], dtype=torch.float64) ** (1 / 7)
    torch.testing.assert_close(root.diff(), root.diff().mean().expand(17))
    assert karras_sigmas(1) == pytest.approx([80.0, 0.0])


def test_karras_sigmas_equal_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, rho=7.0)
    theirs.set_timesteps(25)
    torch.testing.assert_close(torch.tensor(karras_sigmas(25)), theirs.sigmas, atol=1e-7, rtol=1e-5)


@schedules
def test_even_sigmas_are_even_in_time(schedule: Schedule) -> None:
    found = even_sigmas(schedule, 10, start=0.8, last=0.0)
    assert len(found) == 11
    assert found[-1] == 0
    times = [time_of_sigma(schedule, sigma).item() for sigma in found[:-1]]
    assert times == pytest.approx([0.8 * (1 - i / 10) for i in range(10)], abs=1e-6)
    exact = [sigma_at(schedule, 0.8 * (1 - i / 10)).item() for i in range(10)]
    assert found[:-1] == pytest.approx(exact, rel=1e-13), "in 64 bits"


def test_one_step_of_noise_is_all_of_it() -> None:
    assert betas("cosine", 1).tolist() == [0.999] and len(betas("linear", 21)) == 21


def test_no_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1 step"):
        even_sigmas("cosine", 0)
    with pytest.raises(UsageError, match="at least 1 step"):
        karras_sigmas(0)


def test_scales_are_right_at_both_ends() -> None:
    alpha, std = vp(torch.tensor([0.0, 1.0, math.inf]), torch.zeros(3, 1, 2, 2))
    torch.testing.assert_close(alpha.flatten(), torch.tensor([1.0, 0.5**0.5, 0.0]))
    torch.testing.assert_close(std.flatten(), torch.tensor([0.0, 0.5**0.5, 1.0]))
    assert alpha.shape == (3, 1, 1, 1)


@quick
@given(sigma=sigmas)
def test_noising_is_the_sigma_scale_scaled(sigma: float) -> None:
    x0, noise = pictures()
    x_t = q_sample(x0, noise, sigma)
    torch.testing.assert_close(x_t * math.sqrt(1 + sigma**2), x0 + sigma * noise, rtol=1e-5, atol=1e-5 * (1 + sigma))
    torch.testing.assert_close(q_sample(x0, noise, torch.full((3,), sigma)), x_t)


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
@quick
@given(levels=st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3))
def test_a_right_prediction_gives_the_picture_back(kind: Prediction, levels: list[float]) -> None:
    x0, noise = (part.double() for part in pictures())
    sigma_B = torch.tensor(levels, dtype=torch.float64)
    x_t = q_sample(x0, noise, sigma_B)
    told = target(kind, x0, noise, sigma_B)
    torch.testing.assert_close(x0_from(kind, told, x_t, sigma_B), x0, atol=1e-9, rtol=1e-9)


def test_v_is_the_noise_of_a_clean_picture_and_minus_the_picture_of_pure_noise() -> None:
    x0, noise = pictures()
    assert torch.equal(target("v", x0, noise, 0.0), noise)
    torch.testing.assert_close(target("v", x0, noise, 1e9), -x0)


def test_v_stays_accurate_where_there_is_almost_only_noise() -> None:
    x0, noise = pictures()
    sigma = sigma_at("cosine", 1.0).item()
    told = x0_from("v", target("v", x0, noise, sigma), q_sample(x0, noise, sigma), sigma)
    torch.testing.assert_close(told, x0, atol=1e-6, rtol=1e-5)
