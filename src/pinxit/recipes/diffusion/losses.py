"""What every task that denoises does alike: how noise levels are spread, and what an error counts."""

from __future__ import annotations

import torch
from torch import Tensor

from pinxit.functional.diffusion import log_snr_of_sigma
from pinxit.functional.diffusion_losses import as_v, weight_for
from pinxit.recipes.diffusion.schedule import DiffusionConfig


def weights(about: DiffusionConfig, sigma_B: Tensor) -> Tensor | None:
    """What each sample's squared error counts."""
    if about.weight == "own":
        return None
    log_snr_B = log_snr_of_sigma(sigma_B)
    return weight_for(about.prediction, as_v(log_snr_B), log_snr_B)


def spread(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """float64 [count] in [0, 1): one random number moves a row of evenly spaced ones, which steadies the mean."""
    first = torch.rand((), generator=generator, device=device, dtype=torch.float64)
    return (first + torch.arange(count, device=device, dtype=torch.float64) / count) % 1


def halves(error_B: Tensor, even_B: Tensor) -> dict[str, Tensor]:
    """The mean error of the noisier half of the times, and of the cleaner one: what a log tells."""
    late = even_B > 0.5
    return {"noisy": _mean(error_B, late), "clean": _mean(error_B, ~late)}


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values.detach() * chosen).sum() / chosen.sum().clamp(min=1)
