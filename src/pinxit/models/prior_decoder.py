"""The autoregressive prior decoded one component at a time with a key-value cache; equal to `TokenPrior`.

Shapes: B rows, n new tokens, T positions, H heads, W width, Q buckets.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.models.layers import Block
from pinxit.models.prior import TokenPrior


class PriorDecoder:
    """Takes the caption, then every component in turn; `logits` [B, Q] are those of the next one."""

    def __init__(self, prior: TokenPrior, conditions: Mapping[str, Tensor], dot_B: Tensor) -> None:
        self.prior, self.place = prior, 0
        trunk, config = prior.trunk, prior.config
        prefix = prior.prefix(conditions, dot_B)
        shape = (2, len(prefix), config.heads, len(trunk.positions), config.width // config.heads)
        self.kept = [prefix.new_zeros(shape) for _ in trunk.blocks]  # keys and values of every layer
        self.logits = self._advance(prefix)

    def step(self, codes_B: Tensor) -> Tensor:
        """The logits [B, Q] of the next component after this one is `codes_B`, int64."""
        self.logits = self._advance(F.embedding(codes_B, self.prior.embed_codes)[:, None])
        return self.logits

    def _advance(self, x_BnW: Tensor) -> Tensor:
        trunk, start = self.prior.trunk, self.place
        self.place += x_BnW.shape[1]
        x_BnW = x_BnW + trunk.positions[start : self.place]
        for block, kept in zip(trunk.blocks, self.kept, strict=True):
            assert isinstance(block, Block)
            x_BnW = x_BnW + self._attended(block, x_BnW, kept, start)
            x_BnW = x_BnW + block.proj(block.activation(block.fc(block.ln_2(x_BnW))))
        logits: Tensor = self.prior.head(trunk.norm(x_BnW[:, -1])).float()
        return logits

    def _attended(self, block: Block, x_BnW: Tensor, kept: Tensor, start: int) -> Tensor:
        B, n, W = x_BnW.shape
        packed = block.attn.qkv(block.ln_1(x_BnW)).view(B, n, 3, block.attn.heads, -1).permute(2, 0, 3, 1, 4)
        kept[:, :, :, start : start + n] = packed[1:]
        keys, values = kept[:, :, :, : start + n]
        seen = torch.ones(n, start + n, dtype=torch.bool, device=x_BnW.device).tril(start)
        mixed = F.scaled_dot_product_attention(packed[0], keys, values, attn_mask=seen)
        return block.attn.out(mixed.transpose(1, 2).reshape(B, n, W))  # type: ignore[no-any-return]
