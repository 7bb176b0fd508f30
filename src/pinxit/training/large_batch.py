"""Contrastive batches beyond one machine's memory: rows in pieces, rows of other ranks.

Shapes: B rows of the whole batch, b rows of one rank, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.checkpoint import checkpoint

from pinxit.functional.contrastive import side_loss

Tower = Callable[[Tensor], Tensor]


def in_pieces(tower: Tower, rows: Tensor, size: int) -> Tensor:
    """`tower(rows)`, [B, ...] -> [B, E], with the activations of only `size` rows in memory at any time.

    The backward pass runs the tower again piece by piece (gradient caching, Gao et al. 2021, arXiv 2101.06983), so that
    gradients are those of one pass. `size` 0, or a batch that fits: one pass. The tower must not mix rows.
    """
    if not size or len(rows) <= size:
        return tower(rows)
    parts = [checkpoint(tower, part, use_reentrant=False) for part in torch.split(rows, size)]
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """Everybody's rows, [b, E] -> [ranks b, E]; a rank's gradient is what all ranks' losses say of its rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous()
        distributed.all_reduce(total)
        start = distributed.get_rank() * ctx.count
        return total[start : start + ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all ranks in their order, with gradients for this rank's; without ranks the rows themselves."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    return _Gather.apply(rows)  # type: ignore[no-any-return,no-untyped-call]


def sharded_contrastive_loss(
    image_bE: Tensor, text_bE: Tensor, scale: Tensor | float, groups_b: Tensor | None = None
) -> Tensor:
    """This rank's part of `contrastive_loss`: its own b rows against everybody's columns, never a B x B matrix.

    The mean over the ranks is the loss of the whole batch, and the mean of the ranks' gradients (what data-parallel
    training takes) is its gradient. Every rank must bring as many rows. `groups_b`: see `contrastive_loss`.
    """
    images_BE, texts_BE = gather_rows(image_bE), gather_rows(text_bE)
    ranked = images_BE is not image_bE
    offset = distributed.get_rank() * len(image_bE) if ranked else 0
    groups = None if groups_b is None else (groups_b, gather_rows(groups_b) if ranked else groups_b)
    to_text = side_loss(image_bE, texts_BE, scale, offset, groups)
    to_image = side_loss(text_bE, images_BE, scale, offset, groups)
    return (to_text + to_image) / 2
