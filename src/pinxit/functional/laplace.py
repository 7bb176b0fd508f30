"""The logit-Laplace likelihood of pictures, DALL-E (arXiv 2102.12092) appendix A.3, and measures of reconstruction."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Likelihood = Literal["laplace", "normal"]

EPSILON = 0.1  # keeps phi(pixel) inside (0, 1), where the density lives


def phi(x: Tensor) -> Tensor:
    """Pixels in [0, 1] to [0.1, 0.9] (appendix A.3: phi(x) = (1 - 2 eps) x + eps)."""
    return (1 - 2 * EPSILON) * x + EPSILON


def unphi(y: Tensor) -> Tensor:
    """Inverse of `phi`, clamped to [0, 1]."""
    return ((y - EPSILON) / (1 - 2 * EPSILON)).clamp(0, 1)


def logit_laplace_nll(y: Tensor, mu: Tensor, ln_b: Tensor) -> Tensor:
    """-ln f(y | mu, b) per value in nats, for y in (0, 1), e.g. phi(pixel); shapes broadcast.

    Appendix A.3, equation 2: f(y | mu, b) = exp(-|logit(y) - mu| / b) / (2 b y (1 - y)).
    """
    distance = (torch.logit(y) - mu).abs()
    return math.log(2) + ln_b + torch.log(y * (1 - y)) + distance * torch.exp(-ln_b)


def logit_normal_nll(y: Tensor, mu: Tensor) -> Tensor:
    """-ln of the logit-normal density of scale 1 per value in nats, for y in (0, 1); shapes broadcast.

    Its gradient does not fade where the picture is hard, as that of a likelihood with a learned scale does.
    """
    return 0.5 * math.log(2 * math.pi) + torch.log(y * (1 - y)) + 0.5 * (torch.logit(y) - mu).square()


def dvae_objective(
    pictures: Tensor, mu: Tensor, ln_b: Tensor, kl: Tensor, beta: float, likelihood: Likelihood = "laplace"
) -> Tensor:
    """The paper's loss in nats per value: (sum of the NLL + beta * KL) / number of values, averaged over the batch.

    `pictures` in [0, 1], `mu` and `ln_b` are [B, 3, H, W]; `kl` [B] is summed over the positions of a picture
    (section 2.1 and appendix A.3: beta = 6.6 is thus 6.6 / 192 per position and value at 256 pixels).
    """
    y = phi(pictures)
    nll = logit_laplace_nll(y, mu, ln_b) if likelihood == "laplace" else logit_normal_nll(y, mu)
    return nll.mean() + beta * kl.mean() / pictures[0].numel()


def mse(pictures: Tensor, mu: Tensor) -> Tensor:
    """Mean squared error, pixels in [0, 1], between `pictures` and the reconstruction `unphi(sigmoid(mu))`."""
    return (unphi(torch.sigmoid(mu)) - pictures).square().mean()


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of pixels in [0, 1]; infinite for no error."""
    return math.inf if error <= 0 else -10 * math.log10(error)
