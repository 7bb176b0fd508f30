"""What the tests of diffusion share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pinxit.functional.diffusion import Level, vp
from pinxit.functional.samplers import Noise, Sampler

Start = Callable[[Tensor, Sequence[float], Noise], Sampler]


def source(seed: int, *shape: int) -> Noise:
    """Standard normal noise of one shape, other noise with every call."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator)


def eps_from_x0(x_t: Tensor, x0: Tensor, sigma: Level) -> Tensor:
    """The noise in x_t, which is in the variance-preserving scale, if the picture is x0."""
    alpha, std = vp(sigma, x_t)
    return (x_t - alpha * x0) / std
