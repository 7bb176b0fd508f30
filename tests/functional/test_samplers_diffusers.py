"""Samplers equal diffusers' schedulers step by step, wherever both know an algorithm, on a made-up network.

Their pictures are variance preserving (or in the sigma scale) with timesteps 0 .. 999; ours are fed the same sigmas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from pinxit.functional.diffusion import vp
from pinxit.functional.guidance import dynamic_threshold, static_threshold
from pinxit.functional.samplers import (
    Denoised,
    ancestral,
    ddim,
    ddim_inversion,
    dpm_2m,
    dpm_2m_sde,
    drive,
    edm,
    euler,
    heun,
)
from tests.functional.helpers import Start, source

diffusers = pytest.importorskip("diffusers")

SHAPE = (2, 3, 8, 8)
waves = pytest.mark.parametrize("wave", ["linear", "squaredcos_cap_v2"])


def network(x_t: Tensor, t: float) -> Tensor:
    """Predicts x0, mixing pixels, from x_t in the variance-preserving scale."""
    return 1.3 * (1.2 * x_t.roll(1, -1) + 0.5 * x_t - torch.tensor(t / 150).cos()).tanh()


def range_of(x_t: Tensor, t: float) -> Tensor:
    """The learned fraction."""
    return (3 * x_t + t / 90).sin()


def sigmas_of(scheduler: Any, timesteps: Sequence[int], last: float = 0.0) -> list[float]:
    abar = scheduler.alphas_cumprod.double()[list(timesteps)]
    return [*((1 - abar) / abar).sqrt().tolist(), last]


def ours(
    start: Start,
    sigmas: Sequence[float],
    timesteps: Sequence[float],
    learned: bool = False,
    limit: Callable[[Tensor], Tensor] = lambda x0: x0,
) -> list[Tensor]:
    """What the network saw at each step and the end, in the variance-preserving scale."""
    seen: list[Tensor] = []
    times = dict(zip(sigmas, timesteps, strict=False))

    def denoise(x: Tensor, sigma: float) -> Denoised:
        x_t = x * vp(sigma, x)[0]
        seen.append(x_t)
        fraction = range_of(x_t, times[sigma]) if learned else None
        return Denoised(limit(network(x_t, times[sigma])), fraction)

    noise = source(11, *SHAPE)
    x = noise() / vp(sigmas[0], torch.zeros(1))[0]
    final = drive(start(x, sigmas, noise), denoise)
    return [*seen, final * vp(sigmas[-1], final)[0]]


def theirs(scheduler: Any, learned: bool = False, **options: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(11)
    x_t = torch.randn(SHAPE, generator=generator)
    seen = []
    for t in scheduler.timesteps.tolist():
        seen.append(x_t)
        told = network(x_t, t)
        told = torch.cat([told, range_of(x_t, t)], 1) if learned else told
        x_t = scheduler.step(told, t, x_t, generator=generator, **options).prev_sample
    return [*seen, x_t]


def assert_same(found: list[Tensor], expected: list[Tensor], within: float = 5e-5) -> None:
    assert len(found) == len(expected)
    for ours_, theirs_ in zip(found, expected, strict=True):
        torch.testing.assert_close(ours_, theirs_, atol=within, rtol=0.0)


def ddpm(wave: str, **options: Any) -> Any:
    settings = {"prediction_type": "sample", "clip_sample": False} | options
    return diffusers.DDPMScheduler(beta_schedule=wave, beta_start=1e-4, beta_end=0.02, **settings)


@waves
@pytest.mark.parametrize(("variance", "gamma"), [("fixed_small", 0.0), ("fixed_large", 1.0), ("learned_range", 0.0)])
def test_ancestral(wave: str, variance: str, gamma: float) -> None:
    scheduler, learned = ddpm(wave, variance_type=variance), variance == "learned_range"
    scheduler.set_timesteps(25)
    times = scheduler.timesteps.tolist()
    found = ours(lambda x, s, n: ancestral(x, s, n, gamma=gamma), sigmas_of(scheduler, times), times, learned)
    assert_same(found, theirs(scheduler, learned))


def test_ancestral_with_deepfloyds_settings() -> None:
    """Its 27 timesteps, learned range and dynamic thresholding."""
    timesteps = pytest.importorskip("diffusers.pipelines.deepfloyd_if.timesteps").fast27_timesteps
    scheduler = ddpm(
        "squaredcos_cap_v2",
        variance_type="learned_range",
        thresholding=True,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=1.5,
    )
    scheduler.set_timesteps(timesteps=timesteps)
    found = ours(
        ancestral, sigmas_of(scheduler, timesteps), timesteps, True, lambda x0: dynamic_threshold(x0, 0.95, 1.5)
    )
    assert_same(found, theirs(scheduler, True))


@waves
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(wave: str, eta: float) -> None:
    scheduler = diffusers.DDIMScheduler(
        beta_schedule=wave, beta_start=1e-4, beta_end=0.02, prediction_type="sample", clip_sample=True
    )
    scheduler.set_timesteps(20)
    times = scheduler.timesteps.tolist()
    found = ours(lambda x, s, n: ddim(x, s, n, eta=eta), sigmas_of(scheduler, times), times, limit=static_threshold)
    assert_same(found, theirs(scheduler, eta=eta, use_clipped_model_output=True))


def test_ddim_that_stops_at_the_first_timestep() -> None:
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="linear", beta_end=0.02, prediction_type="sample", clip_sample=False, set_alpha_to_one=False
    )
    scheduler.set_timesteps(20)
    times = [t + 1 for t in scheduler.timesteps.tolist()]
    scheduler.timesteps += 1  # as Stable Diffusion does: the last step ends at timestep 0, which has noise
    last = sigmas_of(scheduler, [0])[0]
    assert_same(ours(ddim, sigmas_of(scheduler, times, last), times), theirs(scheduler))


def test_ddim_inversion() -> None:
    scheduler = diffusers.DDIMInverseScheduler(
        beta_schedule="linear", beta_start=1e-4, beta_end=0.02, prediction_type="sample", clip_sample=False
    )
    scheduler.set_timesteps(10)
    times = scheduler.timesteps.tolist()  # ascending; a step is named by the timestep it ends at
    x_t = expected = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    sigmas = sigmas_of(scheduler, times)[:-1]

    def denoise(x: Tensor, sigma: float) -> Denoised:
        return Denoised(network(x * vp(sigma, x)[0], times[sigmas.index(sigma)]))

    for t in times[:-1]:
        expected = scheduler.step(network(expected, t), t + 100, expected).prev_sample
    found = drive(ddim_inversion(x_t / vp(sigmas[0], x_t)[0], sigmas, source(1, *SHAPE)), denoise)
    torch.testing.assert_close(found * vp(sigmas[-1], found)[0], expected, atol=1e-4, rtol=0.0)


@waves
@pytest.mark.parametrize(("algorithm", "start"), [("dpmsolver++", dpm_2m), ("sde-dpmsolver++", dpm_2m_sde)])
@pytest.mark.parametrize("steps", [8, 25])
def test_dpm_solver(wave: str, algorithm: str, start: Start, steps: int) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        beta_schedule=wave, beta_start=1e-4, beta_end=0.02, prediction_type="sample", algorithm_type=algorithm
    )
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.tolist()
    assert_same(ours(start, scheduler.sigmas.tolist(), times), theirs(scheduler))


def in_sigma_scale(scheduler: Any) -> Tensor:
    x: Tensor = source(11, *SHAPE)() * (1 + scheduler.sigmas[0] ** 2).sqrt()
    for t in scheduler.timesteps:
        told = network(scheduler.scale_model_input(x, t), t.item())
        x = scheduler.step(told, t, x).prev_sample
    return x


@pytest.mark.parametrize(("name", "start"), [("EulerDiscreteScheduler", euler), ("HeunDiscreteScheduler", heun)])
@pytest.mark.parametrize("karras", [False, True])
def test_euler_and_heun(name: str, start: Start, karras: bool) -> None:
    scheduler = getattr(diffusers, name)(
        beta_schedule="linear", beta_start=1e-4, beta_end=0.02, prediction_type="sample", use_karras_sigmas=karras
    )
    scheduler.set_timesteps(15)
    pairs = dict(zip(scheduler.sigmas.tolist(), scheduler.timesteps.tolist(), strict=False))  # Heun's come twice
    times = {sigma: t for sigma, t in pairs.items() if sigma > 0}
    found = ours(start, [*times, 0.0], list(times.values()))
    torch.testing.assert_close(found[-1], in_sigma_scale(scheduler), atol=1e-4, rtol=0.0)


def test_edm_raises_noise_as_diffusers_euler_does() -> None:
    """Up to the correction, which theirs has not: where ours asks the second time, theirs has made its step."""
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_schedule="linear", beta_start=1e-4, beta_end=0.02, prediction_type="sample"
    )
    scheduler.set_timesteps(4)
    t, sigmas = scheduler.timesteps[0], scheduler.sigmas.tolist()
    x, answer = source(11, *SHAPE)() * sigmas[0], source(5, *SHAPE)()
    sampler = edm(x, sigmas, source(3, *SHAPE), churn=1.2, s_min=0.0, s_max=1e9, s_noise=1.1)
    assert next(sampler).sigma == pytest.approx(1.3 * sigmas[0])
    asked = sampler.send(Denoised(answer))
    scheduler.scale_model_input(x, t)
    generator = torch.Generator().manual_seed(3)
    expected = scheduler.step(answer, t, x, s_churn=1.2, s_tmax=1e9, s_noise=1.1, generator=generator).prev_sample
    assert asked.sigma == sigmas[1]
    torch.testing.assert_close(asked.x, expected, atol=1e-4, rtol=1e-6)
