"""Keys and values of one layer for every slot, and attention of one new token per slot over them.

A cache holds the text's keys and then as many picture keys as the layer's mask can see at once. A column layer sees
another column at every step, so it keeps all of them in strips and brings in the one it needs.
Shapes: S slots, H heads, P prefix positions, W x W = N picture tokens, T places of a cache, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.functional.masks import Kind, window
from pinxit.models.transformer import TransformerConfig


@dataclass(frozen=True)
class Addresses:
    """Where one step's keys go and what may be seen, for all layers of a kind and every slot at its own position."""

    write: Tensor  # int64 [2 S H], rows of the flat store
    bias: Tensor  # [S H, 1, T], 0 or -inf
    read: Tensor | None  # int64 [2 S H], the strips to bring in; None where the cache is all there is


class AddressBook:
    """The addresses of one layer kind for every position."""

    def __init__(
        self, kind: Kind, config: TransformerConfig, slots: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        plan, N, P = window(kind, config.grid, config.kernel), config.image_tokens, config.prefix
        self.heads = config.heads
        self.striped = plan.read is not None
        self.size = P + plan.width  # T
        stored = plan.store if self.striped else self.size
        rows = torch.arange(2 * slots * config.heads, device=device).view(2, slots, config.heads)
        self.first_place, self.first_strip = rows * stored, rows * config.grid
        self.write = (plan.write if self.striped else plan.write + P).to(device)
        self.column = (torch.arange(N) % config.grid).to(device)
        seen = torch.cat([torch.ones(N, P, dtype=torch.bool), plan.visible], 1)
        self.bias = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf).to(device, dtype)

    def at(self, positions_S: Tensor) -> Addresses:
        """The addresses of tokens standing at `positions_S`."""
        write = self.first_place + self.write[positions_S][:, None]
        read = (self.first_strip + self.column[positions_S][:, None]).flatten() if self.striped else None
        bias = self.bias.index_select(0, positions_S.repeat_interleave(self.heads))
        return Addresses(write.flatten(), bias[:, None], read)


class LayerCache:
    """One layer's memory. `dtype` float32 makes two batched products per step; others go to torch's fused attention."""

    def __init__(
        self, book: AddressBook, config: TransformerConfig, slots: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        H, head = config.heads, config.dim // config.heads
        self.slots, self.prefix, self.scale = slots, config.prefix, head**-0.5
        self.fresh = torch.zeros(3, slots, H, head, dtype=dtype, device=device)
        self.fresh_rows = self.fresh[1:].view(-1, head)
        self.cache = torch.zeros(2, slots, H, book.size, head, dtype=dtype, device=device)
        self.store_rows = self.cache.view(-1, head)
        if book.striped:
            store = torch.zeros(2 * slots * H * config.image_tokens, head, dtype=dtype, device=device)
            self.store_rows, self.strips = store, store.view(2 * slots * H * config.grid, config.grid * head)
            self.strip_place = self.cache.view(2 * slots * H, book.size, head)[:, config.prefix :]
        self.keys, self.values = self.cache.view(2, slots * H, book.size, head)
        self.keys_T = self.keys.mT
        self.query = self.fresh[0].view(slots * H, 1, head)

    def load(self, slot: int, prefix: Tensor) -> None:
        """Put the keys and values [2, H, P, D / H] of a prefix into a slot. What the slot held before is never seen."""
        self.cache[:, slot, :, : self.prefix] = prefix

    def attend(self, qkv_SC: Tensor, at: Addresses) -> Tensor:
        """Store every slot's new key and value, then mix the values its query sees: [S, 3 D] -> [S, D]."""
        _, S, H, head = self.fresh.shape
        self.fresh.copy_(qkv_SC.view(S, 3, H, head).transpose(0, 1))
        self.store_rows.index_copy_(0, at.write, self.fresh_rows)
        if at.read is not None:
            self.strip_place.copy_(self.strips.index_select(0, at.read).view(self.strip_place.shape))
        if self.fresh.dtype == torch.float32:
            scores = torch.baddbmm(at.bias, self.query, self.keys_T, alpha=self.scale)
            y = torch.bmm(scores.softmax(-1), self.values)
        else:
            query, bias = self.fresh[0, :, :, None], at.bias.view(S, H, 1, -1)
            y = F.scaled_dot_product_attention(query, self.cache[0], self.cache[1], attn_mask=bias)
        return y.view(S, H * head).to(qkv_SC.dtype)
