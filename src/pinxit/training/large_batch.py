"""Contrastive losses of batches too large for one pass or one GPU: gradient caching, and embeddings of all ranks.

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

    The backward pass runs the tower again, piece by piece (gradient caching, Gao et al. 2021, arXiv 2101.06983); the
    gradients are those of a single pass. `size` 0 or >= B: a single pass. The tower must treat rows independently.
    """
    if not size or len(rows) <= size:
        return tower(rows)
    parts = [checkpoint(tower, part, use_reentrant=False) for part in torch.split(rows, size)]
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """All-gather, [b, E] -> [ranks b, E]; backward sums over all ranks' losses the gradient of this rank's rows."""

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
    """[b, E] of every rank -> [B, E] in the order of ranks, differentiable; `rows` itself if there are no ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    return _Gather.apply(rows)  # type: ignore[no-any-return,no-untyped-call]


def sharded_contrastive_loss(
    image_bE: Tensor, text_bE: Tensor, scale: Tensor | float, groups_b: Tensor | None = None
) -> Tensor:
    """This rank's part of `contrastive_loss`: its b rows against the columns of all ranks, so [b, B], never [B, B].

    The mean over ranks is the loss of the whole batch, and the mean of their gradients (what data-parallel training
    applies) is its gradient. Every rank must have the same number of rows. `groups_b`: see `contrastive_loss`.
    """
    images_BE, texts_BE = gather_rows(image_bE), gather_rows(text_bE)
    ranked = images_BE is not image_bE
    offset = distributed.get_rank() * len(image_bE) if ranked else 0
    groups = None if groups_b is None else (groups_b, gather_rows(groups_b) if ranked else groups_b)
    to_text = side_loss(image_bE, texts_BE, scale, offset, groups)
    to_image = side_loss(text_bE, images_BE, scale, offset, groups)
    return (to_text + to_image) / 2
