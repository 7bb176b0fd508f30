"""Sparse attention of the token transformer over a whole stream, at little more than the cost of what is visible.

A row layer's picture token sees the text and W + 1 picture tokens out of N. On a CPU attention is therefore computed
block by block, for a few neighbouring queries and the keys that any of them sees; a GPU's fused kernel takes the mask.

Shapes: B batch, T stream positions, D width, H heads, P prefix positions, N picture tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.functional.masks import Kind, stream_mask

Orders = tuple[Tensor | None, Tensor | None]  # a permutation of the positions, and its inverse
PIECE = 64  # picture queries a block: larger ones waste more on masked scores, smaller ones make more products


@dataclass(frozen=True)
class QueryBlock:
    """Queries [start, stop) and what they may see: the keys [0, prefix) and [low, high)."""

    start: int
    stop: int
    low: int
    high: int


def query_blocks(mask_TT: Tensor, prefix: int, size: int = PIECE) -> tuple[QueryBlock, ...]:
    """The prefix, then `size` picture queries at a time, each with the narrowest range of picture keys they need."""
    result = [QueryBlock(0, prefix, prefix, prefix)]
    for start in range(prefix, len(mask_TT), size):
        stop = min(start + size, len(mask_TT))
        seen = mask_TT[start:stop, prefix:].any(0).nonzero()
        result.append(QueryBlock(start, stop, prefix + int(seen.min()), prefix + int(seen.max()) + 1))
    return tuple(result)


def _order(kind: Kind, prefix: int, grid: int) -> Tensor | None:
    """For column layers: positions with the picture in column-major order, so that visible keys are contiguous."""
    if kind != "column":
        return None
    down = torch.arange(grid * grid).view(grid, grid).t().flatten()
    return torch.cat([torch.arange(prefix), prefix + down[down < grid * grid - 1]])


def _reach(x: Tensor, piece: QueryBlock, prefix: int) -> Tensor:
    """The keys (or values) `x` [B H, T, D / H] that a piece may see."""
    if piece.low <= prefix:
        return x[:, : piece.high]
    return torch.cat([x[:, :prefix], x[:, piece.low : piece.high]], 1)


def _add_reach(total: Tensor, part: Tensor, piece: QueryBlock, prefix: int) -> None:
    """The transpose of `_reach`: add gradients back where the keys came from."""
    if piece.low <= prefix:
        total[:, : piece.high] += part
    else:
        total[:, :prefix] += part[:, :prefix]
        total[:, piece.low : piece.high] += part[:, prefix:]


def _split(x: Tensor, n: int, heads: int, order: Tensor | None) -> Tensor:
    """[B, T, n D] -> contiguous [n, B H, T, D / H], the positions reordered."""
    B, T, C = x.shape
    x = x.reshape(B, T, n, heads, C // (n * heads)).permute(2, 0, 3, 1, 4)
    x = x.contiguous() if order is None else x.index_select(3, order)
    return x.view(n, B * heads, T, -1)


def _merge(x: Tensor, heads: int, back: Tensor | None) -> Tensor:
    """[n, B H, T, D / H] -> contiguous [B, T, n D], the positions put back: the inverse of `_split`."""
    n, BH, T, _ = x.shape
    x = x.view(n, BH // heads, heads, T, -1)
    x = x if back is None else x.index_select(3, back)
    return x.permute(1, 3, 0, 2, 4).reshape(BH // heads, T, -1)


class _BlockwiseAttention(torch.autograd.Function):
    """Masked attention piece by piece, [B, T, 3 D] -> [B, T, D]. `biases` are added to the scores (0 or -inf)."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, heads: int, prefix: int, plan: tuple[QueryBlock, ...], orders: Orders, *biases: Tensor
    ) -> Tensor:
        q, k, v = _split(qkv, 3, heads, orders[0])
        y, weights = torch.empty_like(q), []
        for piece, bias in zip(plan, biases, strict=True):
            rows = slice(piece.start, piece.stop)
            keys, values = _reach(k, piece, prefix), _reach(v, piece, prefix)
            scores = torch.baddbmm(bias.to(q.dtype), q[:, rows], keys.mT, alpha=q.shape[-1] ** -0.5)
            weights.append(scores.softmax(-1))
            y[:, rows] = weights[-1] @ values
        ctx.save_for_backward(q, k, v, *weights)
        ctx.plan, ctx.prefix, ctx.heads, ctx.orders = plan, prefix, heads, orders
        return _merge(y[None], heads, orders[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *weights = ctx.saved_tensors
        prefix, scale = ctx.prefix, q.shape[-1] ** -0.5
        dqkv = torch.zeros(3, *q.shape, dtype=q.dtype, device=q.device)
        dq, dk, dv = dqkv
        (dy,) = _split(grads[0], 1, ctx.heads, ctx.orders[0])
        for piece, w in zip(ctx.plan, weights, strict=True):
            rows = slice(piece.start, piece.stop)
            _add_reach(dv, w.mT @ dy[:, rows], piece, prefix)
            dw = dy[:, rows] @ _reach(v, piece, prefix).mT
            ds = torch._softmax_backward_data(dw, w, -1, w.dtype).mul_(scale)
            dq[:, rows] = ds @ _reach(k, piece, prefix)
            _add_reach(dk, ds.mT @ q[:, rows], piece, prefix)
        return _merge(dqkv, ctx.heads, ctx.orders[1]), *([None] * (4 + len(ctx.plan)))


class StreamAttention(nn.Module):
    """Attention of one layer kind over a stream, [B, T, 3 D] -> [B, T, D]. No weights; its masks are built once."""

    mask: Tensor
    order: Tensor | None
    back: Tensor | None

    def __init__(self, kind: Kind, prefix: int, grid: int, kernel: int) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.prefix = prefix
        with torch.device("cpu"):  # the plan needs numbers even where the model is built on the meta device
            mask = stream_mask(kind, prefix, grid, kernel)
            order = _order(kind, prefix, grid)
            ordered = mask if order is None else mask[order][:, order]
            self.plan = query_blocks(ordered, prefix)
            self.register_buffer("mask", mask, persistent=False)
            self.register_buffer("order", order, persistent=False)
            self.register_buffer("back", None if order is None else order.argsort(), persistent=False)
            for number, piece in enumerate(self.plan):
                seen = _reach(ordered[None, piece.start : piece.stop].mT, piece, prefix).mT
                bias = torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))
                self.register_buffer(f"bias{number}", bias, persistent=False)

    def forward(self, qkv_BTC: Tensor, heads: int) -> Tensor:
        """Concatenated queries, keys and values [B, T, 3 D] -> attended values [B, T, D]."""
        if qkv_BTC.device.type == "cpu":
            biases = [self.get_buffer(f"bias{number}") for number in range(len(self.plan))]
            orders = (self.order, self.back)
            return _BlockwiseAttention.apply(qkv_BTC, heads, self.prefix, self.plan, orders, *biases)  # type: ignore[no-any-return,no-untyped-call]
        return self.fused(qkv_BTC, heads)

    def fused(self, qkv_BTC: Tensor, heads: int) -> Tensor:
        """The same by one fused kernel over all keys: what a GPU does, and what the pieces are tested against."""
        B, T, C = qkv_BTC.shape
        q, k, v = qkv_BTC.view(B, T, 3, heads, -1).permute(2, 0, 3, 1, 4)
        dense = self.kind == "dense"
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None if dense else self.mask, is_causal=dense)
        return y.transpose(1, 2).reshape(B, T, C // 3)
