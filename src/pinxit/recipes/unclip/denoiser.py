"""The diffusion prior as a denoiser of embeddings, in coordinates of unit variance.

Shapes: B rows, K coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pinxit.functional.diffusion import vp, x0_from
from pinxit.functional.samplers import Denoised
from pinxit.models.prior import DiffusionPrior
from pinxit.recipes.diffusion.schedule import DiffusionConfig


class PriorDenoiser:
    """A diffusion prior with its prediction target, on a device: `pipelines.denoise.Denoiser` of shape [K]."""

    def __init__(self, prior: DiffusionPrior, config: DiffusionConfig, device: torch.device) -> None:
        self.prior, self.config, self.device = prior, config, device
        self.shape: tuple[int, ...] = (prior.config.components,)

    def check(self, conditions: Mapping[str, Tensor]) -> None:
        """Raise UsageError if the conditions of one sample do not fit the prior."""
        self.prior.config.check({name: tuple(tensor.shape) for name, tensor in conditions.items()})

    def __call__(self, x_BK: Tensor, sigma_B: Tensor, conditions: Mapping[str, Tensor]) -> Denoised:
        """The predicted clean coordinates, float32."""
        z_BK = x_BK * vp(sigma_B, x_BK)[0]
        answer = self.prior(z_BK, self.config.time_of(sigma_B), conditions)
        return Denoised(x0_from(self.config.prediction, answer.float(), z_BK, sigma_B))
