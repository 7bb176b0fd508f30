"""A network of DeepFloyd IF as a denoiser: discrete timesteps, the noise as its answer, and a learned variance.

Shapes: B rows, C H W pictures in [-1, 1], T steps of the schedule.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pinxit.functional.diffusion import vp, x0_from_eps
from pinxit.functional.respacing import nearest_timestep
from pinxit.functional.samplers import Denoised
from pinxit.models.unet import UNet
from pinxit.recipes.deepfloyd.schedule import NoiseSchedule
from pinxit.recipes.imagen.denoiser import DiffusionConfig, UNetDenoiser


class LearnedRangeDenoiser(UNetDenoiser):
    """A U-Net that was trained at T discrete steps and has twice the channels of a picture: the noise, the variance.

    Of a noise level between two steps it is told the nearest. Under guidance the stepper takes the variance of the row
    that has text, as the published sampler does.
    """

    def __init__(self, unet: UNet, schedule: NoiseSchedule, size: int, device: torch.device) -> None:
        """`size`: pixels of a side. It computes in the precision of its weights."""
        super().__init__(unet, DiffusionConfig("eps", schedule="cosine"), size, device, fast=False)
        self.sigma_T = schedule.ratios

    def __call__(self, x_BCHW: Tensor, sigma_B: Tensor, conditions: Mapping[str, Tensor]) -> Denoised:
        """Clean pictures, float32, and where between its bounds the log variance lies, in [-1, 1]."""
        z_BCHW = x_BCHW * vp(sigma_B, x_BCHW)[0]
        steps = [float(nearest_timestep(self.sigma_T, sigma)) for sigma in sigma_B.tolist()]
        time_B = torch.tensor(steps, device=x_BCHW.device)
        told = self.unet(z_BCHW, time_B, conditions).float()
        eps, fraction = told.chunk(2, 1)
        return Denoised(x0_from_eps(z_BCHW, eps, sigma_B), fraction)
