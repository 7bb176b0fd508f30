"""Attention masks of the token transformer: row, column and convolutional layers, and the order of the layers.

Zero-Shot Text-to-Image Generation (arXiv 2102.12092), appendix B.1 and figures 10-11. A stream is a prefix (the BOS
token and the text: causal, and visible to every picture token), then picture tokens in raster order on a
W x W grid; picture token p stands at row p // W, column p % W. Shapes: N = W * W picture tokens, P prefix positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["row", "column", "conv", "dense"]
Attention = Literal["paper", "dense"]


def layer_kinds(depth: int, attention: Attention = "paper") -> tuple[Kind, ...]:
    """The kind of each layer, first to last.

    "paper": layer i (counted from 1) is a column layer where (i - 2) mod 4 = 0, else a row layer; the last one is
    convolutional (appendix B.1). 64 layers give 47 rows, 16 columns and 1 convolution. "dense": all causal.
    """
    if attention == "dense":
        every: Kind = "dense"
        return (every,) * depth
    kinds: list[Kind] = ["column" if (i - 2) % 4 == 0 else "row" for i in range(1, depth)]
    return (*kinds, "conv")


def image_mask(kind: Kind, grid: int, kernel: int = 11) -> Tensor:
    """bool [N, N]: may picture token p (row) attend to picture token q (column)? Every token sees itself.

    row: p - W <= q <= p, a raster window that wraps over the row's edge. column: q = p - k W, k >= 0. conv: the causal
    half of a kernel x kernel window, q = p - (a W + b) with 0 <= a <= kernel // 2 and |b| <= kernel // 2, wrapping
    likewise. dense: q <= p.
    """
    place = torch.arange(grid * grid)
    back = place[:, None] - place[None, :]  # how far q lies behind p
    causal = back >= 0
    if kind == "row":
        return causal & (back <= grid)
    if kind == "column":
        return causal & (back % grid == 0)
    if kind == "conv":
        half = kernel // 2
        reachable = torch.zeros(grid * grid, dtype=torch.bool)
        for a in range(half + 1):
            steps = a * grid + torch.arange(-half, half + 1)
            reachable[steps[(steps >= 0) & (steps < grid * grid)]] = True
        return causal & reachable[back.clamp(min=0)]
    return causal


def stream_mask(kind: Kind, prefix: int, grid: int, kernel: int = 11) -> Tensor:
    """bool [T, T] over the model's inputs, T = P + N - 1: the last picture token is predicted but never fed back.

    The prefix is causal and never sees the picture; every picture token sees the whole prefix.
    """
    length = prefix + grid * grid - 1
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[prefix:, prefix:] = image_mask(kind, grid, kernel)[:-1, :-1]
    return mask


@dataclass(frozen=True)
class KeyStore:
    """Where the keys of a layer are kept while decoding, so that no more is stored or read than its mask can see.

    `width` keys are visible at once at most; key p is written to place `write[p]` of a store of `store` places; before
    reading at p, the places `read[p]` (int64 [N, width], None where the store is the window itself) are gathered; and
    `visible[p]` (bool [N, width]) says which of them p may attend to.
    """

    width: int
    store: int
    write: Tensor
    visible: Tensor
    read: Tensor | None = None


def key_store(kind: Kind, grid: int, kernel: int = 11) -> KeyStore:
    """The key store of one layer kind: rings of W + 1 (row) and (kernel // 2)(W + 1) + 1 keys (conv), one strip per
    column (column), everything (dense)."""
    place = torch.arange(grid * grid)
    if kind == "column":
        row, column = place // grid, place % grid
        read = column[:, None] * grid + torch.arange(grid)
        return KeyStore(grid, grid * grid, column * grid + row, torch.arange(grid) <= row[:, None], read)
    sizes = {"row": grid + 1, "conv": (kernel // 2) * (grid + 1) + 1, "dense": grid * grid}
    size = min(sizes[kind], grid * grid)
    behind = (place[:, None] - torch.arange(size)) % size  # ring place e holds key p - (p - e) mod size
    key = place[:, None] - behind
    seen = image_mask(kind, grid, kernel).gather(1, key.clamp(min=0))
    return KeyStore(size, size, place % size, seen & (key >= 0))
