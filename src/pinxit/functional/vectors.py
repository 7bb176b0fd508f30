"""Embeddings as points on a sphere: lengths, interpolation, and the direction from one caption to another.

Hierarchical Text-Conditional Image Generation (unCLIP, arXiv 2204.06125), section 3. Shapes: [B, ...]: a row is one
sample, a vector [E] or the noise [C, H, W] of a picture; lengths and angles are taken over all axes but the first, so
that no row sees another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pinxit.errors import UsageError

FLAT = 1e-6  # below this sine of the angle between two rows interpolation is linear


def norms(x: Tensor) -> Tensor:
    """The length of every row, [B, 1, ...] of x's rank."""
    result: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return result.reshape(-1, *[1] * (x.ndim - 1))


def unit(x: Tensor) -> Tensor:
    """Every row at length one; rows of zeros stay."""
    return x / norms(x).clamp(min=torch.finfo(x.dtype).tiny)


def dots(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of every row of `a` with that of `b`, [B]."""
    return (a * b).flatten(1).sum(1)


def slerp(a: Tensor, b: Tensor, share: Tensor | float) -> Tensor:
    """From `a` (share 0) to `b` (share 1) along the great circle of their directions.

    sin((1 - s) w) / sin w a + sin(s w) / sin w b of the unit vectors, w the angle between them; the length changes
    linearly from a's to b's, so that both ends are exact. `share` is a number or [B]. Rows in the same or in opposite
    directions, and rows of zeros, are interpolated linearly.
    """
    share = _rows(share, a)
    long_a, long_b = norms(a), norms(b)
    one, other = unit(a), unit(b)
    # arccos of the dot product would be off by 3e-4 in 32 bits for (nearly) equal or opposite directions.
    angle = 2 * torch.atan2(norms(one - other), norms(one + other)).reshape(share.shape)
    sine = angle.sin()
    curved = (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / sine.clamp(min=FLAT)
    straight = (sine < FLAT) | (long_a == 0) | (long_b == 0)
    return torch.where(straight, torch.lerp(a, b, share), torch.lerp(long_a, long_b, share) * curved)


def text_diff(after: Tensor, before: Tensor) -> Tensor:
    """norm(z_t - z_t0): the direction from one caption's embedding to another's, of length one (section 3.3).

    Raises UsageError where both captions of a row have the same embedding.
    """
    difference = after - before
    if bool((norms(difference) == 0).any()):
        raise UsageError("both captions have the same embedding: there is no direction from one to the other.")
    return unit(difference)


def shifted(z: Tensor, after: Tensor, before: Tensor, share: Tensor | float) -> Tensor:
    """Text diff: a picture's embedding rotated by `share` towards the change from caption `before` to `after`.

    slerp(z, text_diff, share), of z's length; the article goes from 0 to at most 0.25 to 0.5 (section 3.3).
    """
    return slerp(z, norms(z) * text_diff(after, before), share)


def _rows(share: Tensor | float, like: Tensor) -> Tensor:
    """A number, or one for each row, as [B, 1, ...] of `like`'s rank."""
    value = torch.as_tensor(share, dtype=like.dtype, device=like.device).expand(len(like))
    return value.reshape(-1, *[1] * (like.ndim - 1))
