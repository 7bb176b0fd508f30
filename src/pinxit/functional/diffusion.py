"""Diffusion's arithmetic: noise schedules, noising, and what a network may predict.

Noise is always measured by `sigma`, the noise-to-signal ratio: x = x0 + sigma n, the "variance exploding" scale. A
variance-preserving network sees x_t = alpha x0 + std n = x / sqrt(1 + sigma^2); alpha^2 = abar = 1 / (1 + sigma^2)
and std^2 = 1 - abar. The log-SNR is -2 ln sigma. Schedules are computed in float64 and cast only to be applied.

Shapes: B batch, T steps of a discrete schedule; pictures [..., C, H, W]; a noise level is a number or a tensor [B].
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from pinxit.errors import UsageError

Schedule = Literal["cosine", "linear"]
Prediction = Literal["eps", "x0", "v"]
Level = Tensor | float

COSINE_OFFSET = 0.008  # keeps the first steps of the cosine schedule from being too small (arXiv 2102.09672, eq. 17)
BETA_FIRST, BETA_LAST = 1e-4, 0.02  # of 1000 linear steps (arXiv 2006.11239, section 4)
LOG_SNR_LIMIT = 20.0  # continuous schedules stop at sigma = e^10 and e^-10, beyond which float32 sees only noise


# Discrete schedules


def betas(schedule: Schedule, T: int = 1000) -> Tensor:
    """Variance added by each of T steps, float64 [T].

    "linear": DDPM (arXiv 2006.11239), scaled so that any T adds about as much as 1000 steps. "cosine": Improved DDPM
    (arXiv 2102.09672), eq. 17. Raises UsageError for too few steps.
    """
    if schedule == "linear":
        if T <= 1000 * BETA_LAST:
            raise UsageError(f"A linear schedule needs more than {1000 * BETA_LAST:.0f} steps, not {T}.")
        return torch.linspace(BETA_FIRST, BETA_LAST, T, dtype=torch.float64) * (1000 / T)
    if T < 1:
        raise UsageError(f"A noise schedule needs at least 1 step, not {T}.")
    u = torch.arange(T + 1, dtype=torch.float64) / T
    abar = ((u + COSINE_OFFSET) / (1 + COSINE_OFFSET) * (math.pi / 2)).cos().square()
    return (1 - abar[1:] / abar[:-1]).clamp(max=0.999)


def cumulative(betas_T: Tensor) -> Tensor:
    """abar, the share of signal variance left after each step, float64 [T]: the product of 1 - beta so far."""
    return (1 - betas_T.double()).cumprod(0)


# Continuous schedules


def log_snr(schedule: Schedule, t: Level) -> Tensor:
    """log-SNR at time t in [0, 1] (0: clean, 1: noise), float64 of t's shape, kept within +-20.

    "cosine": -2 ln tan of the angle of arXiv 2102.09672, eq. 17. "linear": abar = exp(-(0.1 t + 9.95 t^2)), the limit
    of 1000 linear steps (arXiv 2011.13456, eq. 33).
    """
    t = torch.as_tensor(t, dtype=torch.float64)
    if schedule == "linear":
        raw = -(1000 * (BETA_FIRST * t + 0.5 * (BETA_LAST - BETA_FIRST) * t.square())).expm1().log()
    else:
        raw = -2 * ((t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * (math.pi / 2)).tan().log()
    return raw.clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)


def time_of_log_snr(schedule: Schedule, value: Level) -> Tensor:
    """The time in [0, 1] at which a continuous schedule has a log-SNR, float64: the inverse of `log_snr`."""
    value = torch.as_tensor(value, dtype=torch.float64)
    if schedule == "linear":
        loss = torch.nn.functional.softplus(-value)  # -ln abar = b t + a t^2, solved without cancellation
        b, a = 1000 * BETA_FIRST, 500 * (BETA_LAST - BETA_FIRST)
        t = 2 * loss / (b + (b * b + 4 * a * loss).sqrt())
    else:
        t = (-value / 2).exp().atan() * (2 / math.pi) * (1 + COSINE_OFFSET) - COSINE_OFFSET
    return t.clamp(0, 1)


def sigma_at(schedule: Schedule, t: Level) -> Tensor:
    """sigma at time t of a continuous schedule, float64 of t's shape."""
    return sigma_of_log_snr(log_snr(schedule, t))


def time_of_sigma(schedule: Schedule, sigma: Level) -> Tensor:
    """The time in [0, 1] at which a continuous schedule reaches sigma, float64 of sigma's shape."""
    return time_of_log_snr(schedule, log_snr_of_sigma(sigma))


# One measure of noise from another, all float64


def sigma_of_abar(abar: Level) -> Tensor:
    """sqrt((1 - abar) / abar)."""
    abar = torch.as_tensor(abar, dtype=torch.float64)
    return ((1 - abar) / abar).sqrt()


def log_snr_of_sigma(sigma: Level) -> Tensor:
    """-2 ln sigma; infinite where sigma is 0."""
    return -2 * torch.as_tensor(sigma, dtype=torch.float64).log()


def sigma_of_log_snr(value: Level) -> Tensor:
    """exp(-log-SNR / 2)."""
    return (torch.as_tensor(value, dtype=torch.float64) / -2).exp()


# The sigmas that a sampler steps through: plain numbers, descending, the last one usually 0


def karras_sigmas(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> list[float]:
    """`steps` + 1 values, evenly spaced in sigma^(1/rho) and then 0: EDM (arXiv 2206.00364), eq. 5."""
    _check_steps(steps)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [(high + i / max(steps - 1, 1) * (low - high)) ** rho for i in range(steps)] + [0.0]


def even_sigmas(schedule: Schedule, steps: int, start: float = 1.0, last: float = 0.0) -> list[float]:
    """`steps` + 1 values at evenly spaced times of a continuous schedule, from `start` down to 0.

    The value at time 0 is replaced by `last`: 0 ends in the predicted picture itself.
    """
    _check_steps(steps)
    t = start * (1 - torch.arange(steps, dtype=torch.float64) / steps)
    return [*sigma_at(schedule, t).tolist(), last]


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise UsageError(f"Sampling takes at least 1 step, not {steps}.")


# Noising, and what the network predicts


def vp(sigma: Level, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha = (1 + sigma^2)^-1/2 and std = sigma alpha, of `like`'s dtype and device, shaped to broadcast against it.

    Exact at both ends: sigma 0 gives (1, 0) and infinity gives (0, 1).
    """
    s = torch.as_tensor(sigma, dtype=torch.float64, device=like.device)
    s = s.reshape(s.shape + (1,) * (like.ndim - s.ndim))
    return (1 + s.square()).rsqrt().to(like.dtype), (1 + s.square().reciprocal()).rsqrt().to(like.dtype)


def q_sample(x0: Tensor, noise: Tensor, sigma: Level) -> Tensor:
    """The noised picture as a variance-preserving network sees it, x_t = alpha x0 + std noise."""
    alpha, std = vp(sigma, x0)
    return alpha * x0 + std * noise


def x0_from_eps(x_t: Tensor, eps: Tensor, sigma: Level) -> Tensor:
    """The picture from the predicted noise; x_t in the variance-preserving scale, sigma finite."""
    alpha, std = vp(sigma, x_t)
    return (x_t - std * eps) / alpha


def v_from(x0: Tensor, eps: Tensor, sigma: Level) -> Tensor:
    """v = alpha eps - std x0: progressive distillation (arXiv 2202.00512), appendix D."""
    alpha, std = vp(sigma, x0)
    return alpha * eps - std * x0


def x0_from_v(x_t: Tensor, v: Tensor, sigma: Level) -> Tensor:
    """The picture from v; x_t in the variance-preserving scale, any sigma."""
    alpha, std = vp(sigma, x_t)
    return alpha * x_t - std * v


def target(kind: Prediction, x0: Tensor, noise: Tensor, sigma: Level) -> Tensor:
    """The regression target of a network that predicts `kind`."""
    if kind == "v":
        return v_from(x0, noise, sigma)
    return noise if kind == "eps" else x0


def x0_from(kind: Prediction, output: Tensor, x_t: Tensor, sigma: Level) -> Tensor:
    """The picture from a network's output; x_t in the variance-preserving scale, as the network saw it."""
    if kind == "v":
        return x0_from_v(x_t, output, sigma)
    return x0_from_eps(x_t, output, sigma) if kind == "eps" else output
