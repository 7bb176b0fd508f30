"""The key-value cache of one layer for every slot, and the attention of one new token per slot over it.

A cache holds the text's keys and then as many picture keys as the layer's mask can see at once. A column layer sees
another column at every step, so it stores every column as a contiguous strip and copies in the one it needs. Where the
cache holds all keys in raster order (dense layers), it is kept only as long as the furthest slot has come, and
contiguous: a slice of a longer cache would cost as much to read as the whole.
Shapes: S slots of which the first R take part in a step, H heads, P prefix positions, W x W = N picture tokens, T
places (key positions) of a cache, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.functional.masks import Kind, key_store
from pinxit.models.transformer import TransformerConfig

GROWTH = 32  # places by which a cache grows: whole SIMD vectors, so that masked zeros at the end change no sum


@dataclass(frozen=True)
class Addresses:
    """Where one step's keys are written and which are visible, for all layers of a kind and each slot's position."""

    write: Tensor  # int64 [2 R H], rows of the flat store
    bias: Tensor  # [R H, 1, t], 0 or -inf, over the first t <= T places: no slot sees a later one
    read: Tensor | None  # int64 [2 R H], the strips to copy in; None where the cache itself holds every key


class AddressBook:
    """The addresses of one layer kind for every position."""

    def __init__(
        self, kind: Kind, config: TransformerConfig, slots: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        plan, N, P = key_store(kind, config.grid, config.kernel), config.image_tokens, config.prefix
        self.heads = config.heads
        self.striped = plan.read is not None
        self.size = P + plan.width  # T
        stored = plan.store if self.striped else self.size
        self.rows = torch.arange(2 * slots * config.heads, device=device).view(2, slots, config.heads)
        self.stored, self.first_strip = stored, self.rows * config.grid
        self.write = (plan.write if self.striped else plan.write + P).to(device)
        self.column = (torch.arange(N) % config.grid).to(device)
        seen = torch.cat([torch.ones(N, P, dtype=torch.bool), plan.visible], 1)
        self.bias = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf).to(device, dtype)
        self.ordered = plan.width == N and device.type == "cpu" and dtype == torch.float32
        self.ends = sorted({min(end, self.size) for end in range(P + GROWTH - P % GROWTH, self.size + GROWTH, GROWTH)})

    def at(self, positions_R: Tensor, places: int) -> Addresses:
        """The addresses of tokens standing at `positions_R` in a cache of so many places."""
        R, stored = positions_R.shape[0], self.stored if self.striped else places
        write = self.rows[:, :R] * stored + self.write[positions_R][:, None]
        read = (self.first_strip[:, :R] + self.column[positions_R][:, None]).flatten() if self.striped else None
        bias = self.bias[:, :places].index_select(0, positions_R.repeat_interleave(self.heads))
        return Addresses(write.flatten(), bias[:, None], read)

    def end(self, furthest: int) -> int:
        """How many places a cache needs when no slot is beyond picture position `furthest`."""
        if not self.ordered:
            return self.size
        return next(end for end in self.ends if end > self.size - len(self.write) + furthest)


class LayerCache:
    """One layer's keys and values. In float32 attention is two batched products; other types use torch's fused one."""

    def __init__(
        self, book: AddressBook, config: TransformerConfig, slots: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.heads, self.head = H, head = config.heads, config.dim // config.heads
        self.slots, self.prefix, self.scale = slots, config.prefix, head**-0.5
        self.flat, self.striped = (
            torch.zeros(2 * slots * H * book.size * head, dtype=dtype, device=device),
            book.striped,
        )
        self.cache = self.flat.view(2, slots, H, book.size, head)
        self.store_rows = self.cache.view(-1, head)
        if book.striped:
            store = torch.zeros(2 * slots * H * config.image_tokens, head, dtype=dtype, device=device)
            self.store_rows, self.strips = store, store.view(2 * slots * H * config.grid, config.grid * head)

    @property
    def parts(self) -> list[Tensor]:
        """The tensors that a step reads and writes; `fit` replaces them."""
        return [self.cache, self.store_rows, *([self.strips] if self.striped else [])]

    def fit(self, places: int, spare: Tensor) -> Tensor:
        """Resize every slot to `places`, copying into the buffer `spare`; returns the buffer that is now unused."""
        _, S, H, before, head = self.cache.shape
        if places == before:
            return spare
        old, freed = self.cache, self.flat
        self.flat, self.cache = spare, spare[: 2 * S * H * places * head].view(2, S, H, places, head)
        self.store_rows = self.cache.view(-1, head)
        self.cache[..., :before, :] = old[..., :places, :]
        self.cache[..., before:, :] = 0
        return freed

    def load(self, slot: int, prefix: Tensor) -> None:
        """Put the keys and values [2, H, P, D / H] of a prefix into a slot.

        What the slot held before is zeroed: masked or not, it must not be NaN, and 0 times NaN is NaN.
        """
        self.cache[:, slot, :, self.prefix :] = 0
        self.cache[:, slot, :, : self.prefix] = prefix
        if self.striped:
            self.store_rows.view(2, self.slots, -1)[:, slot] = 0

    def attend(self, qkv_RC: Tensor, at: Addresses) -> Tensor:
        """Store every slot's new key and value, then attend with its query: [R, 3 D] -> [R, D]."""
        R, H, head = qkv_RC.shape[0], self.heads, self.head
        fresh = self.cache.new_empty(3, R, H, head).copy_(qkv_RC.view(R, 3, H, head).transpose(0, 1))
        self.store_rows.index_copy_(0, at.write, fresh[1:].view(-1, head))
        if at.read is not None:
            strips = self.strips.index_select(0, at.read).view(2, R, H, -1, head)
            self.cache[:, :R, :, self.prefix :].copy_(strips)
        return self.mix(fresh[0], at.bias).view(R, H * head).to(qkv_RC.dtype)

    def mix(self, query_RHd: Tensor, bias: Tensor) -> Tensor:
        """Attention of the first R slots' queries [R, H, D / H]: [R H, 1, D / H] (float32) or [R, H, 1, D / H]."""
        R = query_RHd.shape[0]
        keys, values = self.cache[:, :R].unbind()
        if self.cache.dtype == torch.float32:
            keys, values = keys.flatten(0, 1), values.flatten(0, 1)  # still views: slots are contiguous
            scores = torch.baddbmm(bias, query_RHd.view(keys.shape[0], 1, -1), keys.mT, alpha=self.scale)
            return torch.bmm(scores.softmax(-1), values)
        bias = bias.view(R, self.heads, 1, -1)
        return F.scaled_dot_product_attention(query_RHd[:, :, None], keys, values, attn_mask=bias)
