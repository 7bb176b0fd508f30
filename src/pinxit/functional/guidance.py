"""Guidance and thresholding: functions of predicted pictures x0, applied where a sampler's query is answered.

Shapes: [..., C, H, W]; a sample is what the last three dimensions hold, and no sample sees another.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SAMPLE = (-3, -2, -1)  # the dimensions of one sample


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance, u + w (c - u) (Imagen, arXiv 2205.11487, eq. 2); exactly c where w is 1.

    The same whether c and u are x0, eps or v, each being a straight line of each other at the same x.
    """
    return conditional if scale == 1 else torch.lerp(unconditional, conditional, scale)


def rescale(guided: Tensor, conditional: Tensor, phi: float) -> Tensor:
    """`guided` with its standard deviation pulled back towards `conditional`'s: phi 0 not at all, 1 altogether.

    Common diffusion noise schedules (arXiv 2305.08891), eq. 15 and 16, sample by sample.
    """
    factor = conditional.std(SAMPLE, keepdim=True) / guided.std(SAMPLE, keepdim=True).clamp(min=1e-12)
    return guided * (phi * factor + (1 - phi))


def threshold(x0: Tensor, percentile: float = 0.0, most: float = math.inf) -> Tensor:
    """x0 brought into [-1, 1]: `dynamic_threshold` for a percentile above 0, else `static_threshold`."""
    return dynamic_threshold(x0, percentile, most) if percentile > 0 else static_threshold(x0)


def static_threshold(x0: Tensor) -> Tensor:
    """x0 clipped to [-1, 1] (arXiv 2205.11487, section 2.3)."""
    return x0.clamp(-1, 1)


def dynamic_threshold(x0: Tensor, percentile: float = 0.995, most: float = math.inf) -> Tensor:
    """x0 clipped to [-s, s] and divided by s, where s is the sample's quantile of |x0|, at least 1.

    arXiv 2205.11487, section 2.3. `most` bounds s from above, as in DeepFloyd IF: 1.5 at 64 pixels, and 1, which makes
    it static, at 256.
    """
    s = sample_quantile(x0.abs(), percentile).clamp(1, most)
    return x0.clamp(-s, s) / s


def sample_quantile(x: Tensor, q: float) -> Tensor:
    """The q-th quantile of each sample, interpolated between neighbours: [..., 1, 1, 1], 0 <= q <= 1.

    Equal to torch.quantile, which sorts everything and takes 16 million values at most; here only those above q are.
    """
    flat = x.flatten(-3)
    place = q * (flat.shape[-1] - 1)
    below = math.floor(place)
    largest = flat.topk(flat.shape[-1] - below, dim=-1).values  # descending; the last is number `below` from the least
    low, high = largest[..., -1], largest[..., max(largest.shape[-1] - 2, 0)]
    return torch.lerp(low, high, place - below)[..., None, None, None]
