"""Cross-entropy of a linear layer's logits without ever holding all of them.

Logits of a large vocabulary are most of a small transformer's memory traffic: in 32 bits they are written,
exponentiated, normalised and read again. Here a slice of rows at a time becomes probabilities in autocast's precision
(sums inside the softmax are in 32 bits), the loss reads one of them per row, and the gradients of states and weights
are computed at once, while the slice is in the cache.

Shapes: M rows (tokens), D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SLICE = 1024  # rows handled together on a CPU: their probabilities fit its cache
GPU = 16  # times as many on a GPU, which wants large products


def linear_cross_entropy(x_MD: Tensor, rows_VD: Tensor, targets_M: Tensor, ignore: int = -100) -> Tensor:
    """Mean over the targets other than `ignore` of -ln softmax(x rows^T)[target], in nats; 0 when there are none.

    Equal to `F.cross_entropy(x @ rows.T, targets, ignore_index=ignore)` with the products in autocast's precision.
    """
    kind = x_MD.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x_MD.dtype
    total, count = _LinearCrossEntropy.apply(x_MD, rows_VD, targets_M, ignore, dtype)  # type: ignore[no-untyped-call]
    return total / count  # type: ignore[no-any-return]


class _LinearCrossEntropy(torch.autograd.Function):
    """(sum of losses, number of targets, at least 1). The gradients are computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rows: Tensor, targets: Tensor, ignore: int, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            low_x, low_rows = x.to(dtype), rows.to(dtype)
            total = torch.zeros((), device=x.device)
            dx, drows = torch.empty_like(low_x), torch.zeros_like(rows)
            size = SLICE if x.device.type == "cpu" else GPU * SLICE
            for start in range(0, len(x), size):
                part = slice(start, start + size)
                counted = targets[part] != ignore
                index = torch.where(counted, targets[part], 0)[:, None]
                logits = low_x[part] @ low_rows.T
                rest = logits.float().logsumexp(-1, keepdim=True)  # a probability near 1 has no digits left in 16 bits
                log_right = logits.gather(1, index).float() - rest
                total += torch.where(counted, log_right[:, 0], 0.0).sum()
                p = logits.softmax(-1)
                p.scatter_(1, index, log_right.expm1().to(p.dtype))
                p *= counted[:, None]
                torch.mm(p, low_rows, out=dx[part])
                drows += p.T @ low_x[part]
        ctx.save_for_backward(dx, drows)
        ctx.dtype = x.dtype
        return -total, (targets != ignore).sum().clamp(min=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, drows = ctx.saved_tensors
        return (dx * grads[0]).to(ctx.dtype), drows * grads[0], None, None, None
