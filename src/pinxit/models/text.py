"""A small text transformer that is trained together with the generator, as an alternative to frozen language models.

Bidirectional pre-norm blocks over the project's own tokens. Shapes: B texts, L positions, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.functional.tokens import PAD
from pinxit.models.gpt import GPTBlock, gpt2_init, masked_attention
from pinxit.schema import Count, Depth, check_fields
from pinxit.types import EncodedText


@dataclass(frozen=True, slots=True)
class TextTransformerConfig:
    """Everything that shapes a `TextTransformer`; the defaults have all-MiniLM-L6-v2's width and depth."""

    vocab: Count = 8192  # ids of the tokenizer, the pad (0) included
    tokens: Count = 128  # most positions of a text
    width: Count = 384  # D
    layers: Depth = 6
    heads: Count = 12

    def __post_init__(self) -> None:
        check_fields(self, "text")
        if self.width % self.heads:
            raise UsageError(f"text.width {self.width} must be a multiple of heads, {self.heads}.")


class TextTransformer(nn.Module):
    """Ids to an `EncodedText`; initial weights depend on `config` and `seed` alone."""

    def __init__(self, config: TextTransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Parameter(torch.empty(config.vocab, config.width))
        self.places = nn.Parameter(torch.empty(config.tokens, config.width))
        self.blocks = nn.ModuleList(GPTBlock(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        gpt2_init(self, config.layers, seed)

    def forward(self, ids_BL: Tensor) -> EncodedText:
        """Ids int64 [B, L] with pads 0, L <= `tokens` -> sequence [B, L, D] (zeros at pads), its mean [B, D], mask."""
        assert ids_BL.shape[1] <= self.config.tokens, "longer than the position embeddings"
        mask_BL = ids_BL != PAD
        mask_BL[:, 0] = True  # a row of nothing but pads must have something to attend to
        x_BLD = F.embedding(ids_BL, self.tokens) + self.places[: ids_BL.shape[1]]
        for block in self.blocks:
            x_BLD = block(x_BLD, masked_attention(mask_BL))
        x_BLD = self.norm(x_BLD).masked_fill(~mask_BL[..., None], 0.0)
        return EncodedText(x_BLD, x_BLD.sum(1) / mask_BL.sum(1, keepdim=True), mask_BL)
