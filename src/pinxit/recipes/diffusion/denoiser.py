"""A U-Net as a denoiser: the conversion between samplers' noisy pictures and the network's inputs and outputs.

Samplers work on x = x0 + sigma n; the network sees the variance-preserving z of the paper (Imagen, section 2.1) and
the time at which its schedule has that noise. Shapes: B rows, C H W pictures in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pinxit.functional.diffusion import vp, x0_from
from pinxit.functional.samplers import Denoised
from pinxit.models.dtypes import fast_products
from pinxit.models.unet import UNet
from pinxit.recipes.diffusion.schedule import DiffusionConfig


class UNetDenoiser:
    """A network with its parametrisation, on a device and in a precision: `pipelines.denoise.Denoiser`.

    Under guidance the worker takes a learned variance from the conditional row, as published samplers do.
    """

    def __init__(
        self,
        unet: UNet,
        config: DiffusionConfig,
        size: int,
        device: torch.device,
        autocast: bool = True,
        compiled: bool = False,
    ) -> None:
        """`size`: side in pixels; `autocast`: to bfloat16, of a network that `fast_unet` has not cast already.

        `compiled`: by torch.compile with CUDA graphs (one is enough, as tiles have one shape); ignored on a CPU.
        """
        self.compiled = compiled and device.type == "cuda"
        if self.compiled:
            unet.compile(dynamic=False, mode="reduce-overhead")
        self.unet, self.config, self.device, self.autocast = unet, config, device, autocast
        self.shape: tuple[int, ...] = (3, size, size)

    def check(self, conditions: Mapping[str, Tensor]) -> None:
        """Raise UsageError for conditions of one picture that the network does not take."""
        self.unet.config.check({name: tuple(tensor.shape) for name, tensor in conditions.items()}, self.shape[1:])

    def __call__(self, x_BCHW: Tensor, sigma_B: Tensor, conditions: Mapping[str, Tensor]) -> Denoised:
        """Predicted clean pictures, float32, and a learned variance's fraction in [-1, 1] (None if it is fixed)."""
        z_BCHW = x_BCHW * vp(sigma_B, x_BCHW)[0]
        with fast_products(self.device, self.autocast):
            answer = network_output(self.unet, z_BCHW, sigma_B, self.config, conditions)
        if self.compiled:
            answer = answer.clone()  # the next call overwrites the graph's output
        prediction, fraction = split_variance(answer.float(), self.config)
        return Denoised(x0_from(self.config.prediction, prediction, z_BCHW, sigma_B), fraction)


class SwitchingDenoiser:
    """Two networks for one trajectory: `last` predicts where sigma is less than `below`, `first` elsewhere."""

    def __init__(self, first: UNetDenoiser, last: UNetDenoiser, below: float) -> None:
        """`below`: a sigma."""
        self.first, self.last, self.below = first, last, below
        self.shape, self.device = first.shape, first.device

    def check(self, conditions: Mapping[str, Tensor]) -> None:
        """Raise UsageError for conditions of one picture that either network does not take."""
        for one in (self.first, self.last):
            one.check(conditions)

    def __call__(self, x_BCHW: Tensor, sigma_B: Tensor, conditions: Mapping[str, Tensor]) -> Denoised:
        """As `UNetDenoiser`. If rows differ, both networks compute all rows, so that calls keep their fixed size."""
        late_B = sigma_B < self.below
        needed = [one for one, is_needed in ((self.first, not late_B.all()), (self.last, late_B.any())) if is_needed]
        denoised = [one(x_BCHW, sigma_B, conditions) for one in needed]
        if len(denoised) == 1:
            return denoised[0]
        late, (before, after) = late_B[:, None, None, None], denoised
        x0 = torch.where(late, after.x0, before.x0)
        if before.fraction is None or after.fraction is None:
            return Denoised(x0)
        return Denoised(x0, torch.where(late, after.fraction, before.fraction))


def network_output(
    unet: UNet, z_BCHW: Tensor, sigma_B: Tensor, config: DiffusionConfig, conditions: Mapping[str, Tensor]
) -> Tensor:
    """The network's output for `z`, in its own parametrisation, with the channels of a learned variance."""
    answer: Tensor = unet(z_BCHW, config.time_of(sigma_B), conditions)
    return answer


def split_variance(answer: Tensor, config: DiffusionConfig) -> tuple[Tensor, Tensor | None]:
    """The prediction, and the fraction in [-1, 1] that parametrises a learned variance; None where it is fixed."""
    if config.variance == "fixed":
        return answer, None
    prediction, fraction = answer.chunk(2, 1)
    return prediction, fraction
