"""A U-Net as a denoiser: what it is shown of a noisy picture, and what its answer means.

Samplers speak of x = x0 + sigma n; the network sees the variance-preserving z of the paper (Imagen, section 2.1) and
the time at which its schedule has that noise. Shapes: B rows, C H W pictures in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pinxit.functional.diffusion import (
    Level,
    Prediction,
    Schedule,
    even_sigmas,
    sigma_at,
    time_of_sigma,
    vp,
    x0_from,
)
from pinxit.functional.samplers import Denoised
from pinxit.schema import Finite, NotNegative, Positive, check_fields

Weight = Literal["own", "v"]

TIMES = 1000.0  # the network's embedding is made for times of this range
RAREST = 1e-4  # a normal draw's tails are cut here: 3.7 standard deviations


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """What a network of the cascade is trained to tell, and how noise is spread over time."""

    prediction: Prediction = "eps"  # the paper's; v is steadier where a net is small and steps are few
    weight: Weight = "own"  # of the error at each noise level: what is predicted counts evenly, or v would
    schedule: Schedule = "cosine"  # linear for the last stage of the paper
    shift: Positive = 1.0  # the schedule's sigma times this, for pictures whose shapes much noise leaves visible
    p_mean: Finite = 0.0  # of ln sigma, where training draws it from a normal distribution (EDM, table 1)
    p_std: NotNegative = 0.0  # its standard deviation; 0: training draws evenly in time

    def __post_init__(self) -> None:
        check_fields(self, "diffusion")

    def drawn(self, even: Tensor) -> Tensor:
        """sigma in training for random numbers that are even in [0, 1), float64 of their shape."""
        if not self.p_std:
            return self.sigma_at(even)
        normal = torch.special.ndtri(even.clamp(RAREST, 1 - RAREST))
        return torch.exp(self.p_mean + self.p_std * normal)

    def sigma_at(self, time: Level) -> Tensor:
        """sigma at `time` in [0, 1], where even steps fall, float64 of time's shape.

        Shifted log-SNR: arXiv 2301.11093 ("simple diffusion").
        """
        return self.shift * sigma_at(self.schedule, time)

    def even_sigmas(self, steps: int) -> list[float]:
        """`steps` + 1 values at evenly spaced times, the last one 0."""
        return [self.shift * sigma for sigma in even_sigmas(self.schedule, steps)]


class UNetDenoiser:
    """A network with its parametrisation, on a device and in a precision: `pipelines.denoise.Denoiser`."""

    def __init__(
        self, unet: nn.Module, config: DiffusionConfig, size: int, device: torch.device, fast: bool = True
    ) -> None:
        """`size`: pixels of a side; `fast`: products in bfloat16, for a network that is not `fast_unet`'s already."""
        self.unet, self.config, self.device, self.fast = unet, config, device, fast
        self.shape = (3, size, size)

    def __call__(self, x_BCHW: Tensor, sigma_B: Tensor, conditions: Mapping[str, Tensor]) -> Denoised:
        """Clean pictures, float32."""
        z_BCHW = x_BCHW * vp(sigma_B, x_BCHW)[0]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            told = predicted(self.unet, z_BCHW, sigma_B, self.config, conditions)
        return Denoised(x0_from(self.config.prediction, told.float(), z_BCHW, sigma_B))


def predicted(
    unet: nn.Module, z_BCHW: Tensor, sigma_B: Tensor, config: DiffusionConfig, conditions: Mapping[str, Tensor]
) -> Tensor:
    """What the network says of `z`, in its own parametrisation."""
    time_B = TIMES * time_of_sigma(config.schedule, sigma_B).float()
    names = ("sequence", "mask", "low_res", "augmentation")
    found: Tensor = unet(z_BCHW, time_B, *(conditions.get(name) for name in names))
    return found
