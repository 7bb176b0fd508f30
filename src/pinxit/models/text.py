"""A small text transformer that a recipe trains together with its painter: the peer of frozen language models.

Bidirectional pre-norm blocks over the project's own tokens. Shapes: B texts, L positions, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.schema import Count, check_fields
from pinxit.types import EncodedText

PAD = 0  # the id that stands for "no token here"


@dataclass(frozen=True, slots=True)
class TextTransformerConfig:
    """Everything that shapes a `TextTransformer`; the defaults have all-MiniLM-L6-v2's width and depth."""

    vocab: Count = 8192  # ids of the tokenizer, the pad (0) included
    tokens: Count = 128  # L, most positions
    width: Count = 384  # D
    layers: Count = 6
    heads: Count = 12

    def __post_init__(self) -> None:
        check_fields(self, "text")
        if self.width % self.heads:
            raise UsageError(f"text.width {self.width} must be a multiple of heads, {self.heads}.")


class TextBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); pads are never attended to."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        B, L, D = x_BLD.shape
        q, k, v = self.qkv(self.norm1(x_BLD)).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BL[:, None, None])
        x_BLD = x_BLD + self.out(mixed.transpose(1, 2).reshape(B, L, D))
        return x_BLD + self.down(F.gelu(self.up(self.norm2(x_BLD))))  # type: ignore[no-any-return]


class TextTransformer(nn.Module):
    """Ids to a `EncodedText`; initial weights depend on `config` and `seed` alone."""

    def __init__(self, config: TextTransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Parameter(torch.empty(config.vocab, config.width))
        self.places = nn.Parameter(torch.empty(config.tokens, config.width))
        self.blocks = nn.ModuleList(TextBlock(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.initialise(seed)

    def initialise(self, seed: int) -> None:
        """GPT-2's scales: 0.02 everywhere, residual outputs divided by sqrt(2 layers), biases zero."""
        if self.tokens.is_meta:
            return
        generator = torch.Generator(self.tokens.device).manual_seed(seed)
        residual = 0.02 * (2 * self.config.layers) ** -0.5
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" in name:
                nn.init.ones_(parameter)
            else:
                std = residual if name.endswith(("out.weight", "down.weight")) else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)

    def forward(self, ids_BL: Tensor) -> EncodedText:
        """Ids int64 [B, L] with pads 0, L <= `tokens` -> sequence [B, L, D] (zeros at pads), its mean [B, D], mask."""
        assert ids_BL.shape[1] <= self.config.tokens, "longer than the table of places"
        mask_BL = ids_BL != PAD
        mask_BL[:, 0] = True  # a row of nothing but pads must have something to attend to
        x_BLD = F.embedding(ids_BL, self.tokens) + self.places[: ids_BL.shape[1]]
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_BL)
        x_BLD = self.norm(x_BLD).masked_fill(~mask_BL[..., None], 0.0)
        return EncodedText(x_BLD, x_BLD.sum(1) / mask_BL.sum(1, keepdim=True), mask_BL)
