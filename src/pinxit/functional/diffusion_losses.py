"""What a diffusion network is trained on: weighted squared errors, the variational bound.

Every loss is one number a sample, [B]; the caller averages. Shapes: B batch, T steps; pictures [B, C, H, W] in [-1, 1].
Noise levels are float64 [B].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinxit.functional.diffusion import Prediction, x0_from_eps
from pinxit.functional.posterior import ScheduleCoefficients, extract

HALF_BIN = 1 / 255  # of 8-bit pixels in [-1, 1]


def squared_error(prediction: Tensor, expected: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """The mean squared error of each sample, times its weight, float32 [B] (arXiv 2006.11239, eq. 14)."""
    error = (prediction.float() - expected.float()).square().flatten(1).mean(1)
    return error if weight_B is None else weight_B.to(error) * error


# Weights of the squared error of x0, as functions of log-SNR


def as_v(log_snr_B: Tensor, most: float = 400.0) -> Tensor:
    """SNR + 1, at most `most`: what a plain v loss gives; the limit is at std 0.05, as in arXiv 2511.13720."""
    return (log_snr_B.exp() + 1).clamp(max=most)


def weight_for(kind: Prediction, x0_weight_B: Tensor, log_snr_B: Tensor) -> Tensor:
    """The weight of an eps or v loss that equals a weight of the x0 loss.

    |x0 error|^2 = |eps error|^2 / SNR = |v error|^2 / (SNR + 1), so a plain eps loss weighs x0 by SNR.
    """
    if kind == "eps":
        return x0_weight_B * (-log_snr_B).exp()
    return x0_weight_B * torch.sigmoid(-log_snr_B) if kind == "v" else x0_weight_B


# The hybrid loss of a network that also learns its variance


def learned_range_loss(
    eps: Tensor, fraction: Tensor, x0: Tensor, x_t: Tensor, noise: Tensor, t_B: Tensor, steps: ScheduleCoefficients
) -> Tensor:
    """Squared error of eps plus the variational bound on the variance, [B].

    ADM (arXiv 2105.05233), as its code scales it: the bound times T / 1000, the mean detached, so that the bound
    trains only `fraction` (the network's other channels, -1 .. 1). x_t = q_sample(x0, noise, steps.sigma[t]).
    """
    bound = variational_bound(eps.detach(), fraction, x0, x_t, t_B, steps)
    return squared_error(eps, noise) + bound * (len(steps.beta) / 1000)


def variational_bound(
    eps: Tensor, fraction: Tensor, x0: Tensor, x_t: Tensor, t_B: Tensor, steps: ScheduleCoefficients
) -> Tensor:
    """One term of the bound in bits per dimension, [B] (arXiv 2006.11239, eq. 5; 2102.09672, eq. 4 to 7).

    KL between the true and the predicted reverse step; at t = 0 the negative log likelihood of the 8-bit pixels.
    """
    x0, x_t, eps, fraction = (x.float() for x in (x0, x_t, eps, fraction))
    sigma_B = steps.sigma.to(t_B.device)[t_B]
    mean = steps.posterior_mean(x0_from_eps(x_t, eps, sigma_B), x_t, t_B)
    log_variance = steps.learned_log_variance(fraction, t_B)
    true_mean = steps.posterior_mean(x0, x_t, t_B)
    kl = gaussian_kl(true_mean, extract(steps.log_variance, t_B, x0), mean, log_variance)
    nll = -pixel_log_likelihood(x0, mean, log_variance)
    first = (t_B == 0).reshape(-1, *[1] * (x0.ndim - 1))
    return torch.where(first, nll, kl).flatten(1).mean(1) / math.log(2)


def gaussian_kl(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """KL(N1 || N2) in nats, element by element."""
    ratio = (log_variance1 - log_variance2).exp()
    return 0.5 * (ratio - 1 + log_variance2 - log_variance1 + (mean1 - mean2).square() * (-log_variance2).exp())


def pixel_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log probability, in nats, of 8-bit pixels x in [-1, 1] under a Gaussian cut into 256 bins.

    The first and the last bin reach to infinity (arXiv 2006.11239, eq. 13); no pixel is held less likely than 1e-12.
    """
    inverse = (-log_variance / 2).exp()
    above = torch.special.ndtr((x - mean + HALF_BIN) * inverse)
    below = torch.special.ndtr((x - mean - HALF_BIN) * inverse)
    above = torch.where(x > 0.999, torch.ones_like(above), above)
    below = torch.where(x < -0.999, torch.zeros_like(below), below)
    return (above - below).clamp(min=1e-12).log()
