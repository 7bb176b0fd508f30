"""Guidance and thresholding: functions of predicted pictures x0, applied where a sampler's query is answered.

Shapes: [B, ...]: a row is one sample, a picture [C, H, W] or a vector [E]. Statistics are taken over all axes but the
first, so that no row sees another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from pinxit.errors import UsageError

Kind = Literal["none", "clip", "dynamic"]


@dataclass(frozen=True, slots=True)
class Thresholding:
    """What is done to predictions x0 that leave their range.

    "none": nothing, for data without a range and for inversion, which clipping would make impossible.
    "clip": [-limit, limit]. "dynamic": scaled back row by row into [-1, 1] (Imagen, section 2.3).
    """

    kind: Kind = "clip"
    limit: float = 1.0  # of clip: 1 for pictures; a prior's embeddings may reach further (Karlo: 5 or 10)
    percentile: float = 0.995  # of dynamic: the quantile of a row's |x0| that is scaled back to 1 (0 to 1)
    max_threshold: float = math.inf  # of dynamic: the largest value that is divided by (DeepFloyd IF)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"there is no thresholding '{self.kind}'; choose from {', '.join(get_args(Kind))}.")
        if not 0 < self.limit < math.inf:
            raise UsageError(f"the limit that predictions are clipped to must be above 0 and finite, not {self.limit}.")
        if not (0 < self.percentile <= 1 and self.max_threshold >= 1):
            limits = f"percentile={self.percentile} must be above 0 and at most 1, and"
            raise UsageError(f"dynamic thresholding: {limits} max_threshold={self.max_threshold} at least 1.")

    @staticmethod
    def of(percentile: float, max_threshold: float = math.inf) -> Thresholding:
        """As recipe settings have it: dynamic at `percentile`, or clipped to [-1, 1] where that is 0."""
        return (
            Thresholding("dynamic", percentile=percentile, max_threshold=max_threshold)
            if percentile
            else Thresholding()
        )


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance, u + w (c - u) (Imagen, arXiv 2205.11487, eq. 2); exactly c where w is 1.

    The same whether c and u are x0, eps or v, which at the same x are affine functions of each other.
    """
    return conditional if scale == 1 else torch.lerp(unconditional, conditional, scale)


def threshold(x0: Tensor, about: Thresholding) -> Tensor:
    """x0 thresholded as `about` says."""
    if about.kind == "dynamic":
        return dynamic_threshold(x0, about.percentile, about.max_threshold)
    return static_threshold(x0, about.limit) if about.kind == "clip" else x0


def static_threshold(x0: Tensor, limit: float = 1.0) -> Tensor:
    """x0 clipped to [-limit, limit] (arXiv 2205.11487, section 2.3)."""
    return x0.clamp(-limit, limit)


def dynamic_threshold(x0: Tensor, percentile: float = 0.995, max_threshold: float = math.inf) -> Tensor:
    """x0 clipped to [-s, s] and divided by s, where s is the row's quantile of |x0|, at least 1.

    arXiv 2205.11487, section 2.3. `max_threshold` bounds s from above, as in DeepFloyd IF: 1.5 at 64 pixels, and 1,
    which makes it static, at 256.
    """
    s = row_quantile(x0.abs(), percentile).clamp(1, max_threshold)
    return x0.clamp(-s, s) / s


def row_quantile(x: Tensor, q: float) -> Tensor:
    """The q-th quantile of each row, interpolated between neighbours: [B, 1, ...] of x's rank, 0 <= q <= 1.

    Equal to torch.quantile, which sorts everything and takes 16 million values at most; here only those above q are.
    """
    flat = x.flatten(1)
    place = q * (flat.shape[-1] - 1)
    below = math.floor(place)
    largest = flat.topk(flat.shape[-1] - below, dim=-1).values  # descending; the last is number `below` from the least
    low, high = largest[..., -1], largest[..., max(largest.shape[-1] - 2, 0)]
    return torch.lerp(low, high, place - below).reshape(-1, *[1] * (x.ndim - 1))
