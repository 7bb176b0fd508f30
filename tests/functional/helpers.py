"""What the tests of samplers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pinxit.functional.samplers import Noise, Sampler

Start = Callable[[Tensor, Sequence[float], Noise], Sampler]


def source(seed: int, *shape: int) -> Noise:
    """Standard normal noise of one shape, other noise with every call."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator)
