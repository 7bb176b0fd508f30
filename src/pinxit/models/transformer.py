"""The token transformer: text and picture codes as one stream, each token predicted from those before it.

Zero-Shot Text-to-Image Generation (arXiv 2102.12092), section 2.2 and appendix B: pre-norm GPT blocks, row, column and
convolutional attention, a learned pad token for every text position, row and column embeddings for the picture.

Shapes: B batch, L text positions, N picture tokens, T stream positions, D width, V text vocabulary, K picture codes.
Stream: BOS t_1 .. t_L (start of image) i_1 .. i_{N-1}; every position predicts the next of t_1 .. t_L i_1 .. i_N.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.functional.masks import Attention, Kind, layer_kinds
from pinxit.functional.tokens import PAD
from pinxit.models.attention import StreamAttention
from pinxit.models.gpt import GPTBlock, gpt2_init
from pinxit.schema import Count, Depth, check_fields


@dataclass(frozen=True)
class TransformerConfig:
    """Everything that shapes a `TokenTransformer`; the defaults are the paper's 12 billion parameters."""

    text_vocab: Count = 16384  # V, ids of the tokenizer, the pad (0) included
    text_tokens: Count = 256  # L, text positions
    image_codes: Count = 8192  # K, size of the dVAE's vocabulary
    grid: Count = 32  # W: the picture is W x W codes
    dim: Count = 3968  # D
    depth: Depth = 64  # blocks
    heads: Count = 62
    attention: Attention = "paper"  # "paper": row, column and convolutional layers; "dense": every layer fully causal
    kernel: Count = 11  # side of the convolutional layer's window
    start_of_image: bool = False  # a learned token between text and picture, as the paper's figure of embeddings shows
    tied: bool = False  # predict with the embedding tables instead of separate ones

    def __post_init__(self) -> None:
        check_fields(self, "transformer")
        if self.dim % self.heads:
            raise UsageError(f"transformer.dim {self.dim} must be a multiple of heads, {self.heads}.")
        if self.kernel % 2 == 0:
            raise UsageError(f"transformer.kernel must be odd, not {self.kernel}.")

    @property
    def image_tokens(self) -> int:
        """N, tokens of a picture."""
        return self.grid * self.grid

    @property
    def prefix(self) -> int:
        """P, stream positions before the first picture token."""
        return 1 + self.text_tokens + int(self.start_of_image)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kind of attention of each block."""
        return layer_kinds(self.depth, self.attention)


class Embeddings(nn.Module):
    """Token and position embeddings, kept in 32 bits (section 2.4)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        D, L, W = config.dim, config.text_tokens, config.grid
        self.text_vocab = config.text_vocab
        self.begin = nn.Parameter(torch.empty(1, D))
        self.text = nn.Parameter(torch.empty(config.text_vocab + L, D))  # the last L rows: one pad per position
        self.text_place = nn.Parameter(torch.empty(L, D))
        self.start_of_image = nn.Parameter(torch.empty(1, D)) if config.start_of_image else None
        self.image = nn.Parameter(torch.empty(config.image_codes, D))
        self.row = nn.Parameter(torch.empty(W, D))
        self.column = nn.Parameter(torch.empty(W, D))

    def prefix(self, text_BL: Tensor) -> Tensor:
        """What comes before the picture, [B, P, D]; a pad at text position p becomes the learned row V + p."""
        B, L = text_BL.shape
        pads = self.text_vocab + torch.arange(L, device=text_BL.device)
        x_BLD = F.embedding(torch.where(text_BL == PAD, pads, text_BL), self.text) + self.text_place
        parts = [self.begin.expand(B, 1, -1), x_BLD]
        if self.start_of_image is not None:
            parts.append(self.start_of_image.expand(B, 1, -1))
        return torch.cat(parts, 1)

    def image_places(self) -> Tensor:
        """Row plus column vector of every picture position, [N, D]."""
        return (self.row[:, None] + self.column).flatten(0, 1)

    def forward(self, text_BL: Tensor, codes_BN: Tensor) -> Tensor:
        """The whole input stream, [B, T, D]; the last code is a target but never an input."""
        image_BND = F.embedding(codes_BN[:, :-1], self.image) + self.image_places()[:-1]
        return torch.cat([self.prefix(text_BL), image_BND], 1)


class TokenTransformer(nn.Module):
    """One stream of text and picture tokens. Initial weights depend on `config` and `seed` alone.

    Matrix products follow autocast; embeddings, norms and logits stay in 32 bits (section 2.4).
    """

    def __init__(self, config: TransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embed = Embeddings(config)
        self.blocks = nn.ModuleList(GPTBlock(config.dim, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.text_head = nn.Parameter(torch.empty(0 if config.tied else config.text_vocab, config.dim))
        self.image_head = nn.Parameter(torch.empty(0 if config.tied else config.image_codes, config.dim))
        self.attention = nn.ModuleDict(
            {
                kind: StreamAttention(kind, config.prefix, config.grid, config.kernel)
                for kind in sorted(set(config.kinds))
            }
        )
        gpt2_init(self, config.depth, seed)

    def text_rows(self) -> Tensor:
        """The output rows of the text vocabulary, [V, D]."""
        return self.embed.text[: self.config.text_vocab] if self.config.tied else self.text_head

    def image_rows(self) -> Tensor:
        """The output rows of the picture vocabulary, [K, D]."""
        return self.embed.image if self.config.tied else self.image_head

    def states(self, text_BL: Tensor, codes_BN: Tensor) -> Tensor:
        """The stream after the last norm, [B, T, D]: positions 0 .. L - 1 predict text, P - 1 .. T - 1 the picture."""
        codes_BN = codes_BN.flatten(1)
        assert text_BL.shape[1] == self.config.text_tokens and codes_BN.shape[1] == self.config.image_tokens
        x_BTD = self.embed(text_BL, codes_BN)
        for kind, block in zip(self.config.kinds, self.blocks, strict=True):
            x_BTD = block(x_BTD, self.attention[kind])
        return self.norm(x_BTD)  # type: ignore[no-any-return]

    def forward(self, text_BL: Tensor, codes_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher-forced logits in float32: text [B, L, V] and picture [B, N, K], position t for target t.

        `text_BL` int64 with pads 0; `codes_BN` int64 in raster order ([B, N] or [B, W, W]).
        """
        x_BTD = self.states(text_BL, codes_BN)
        with torch.autocast(x_BTD.device.type, enabled=False):
            text_BLV = F.linear(x_BTD[:, : self.config.text_tokens].float(), self.text_rows())
            image_BNK = F.linear(x_BTD[:, self.config.prefix - 1 :].float(), self.image_rows())
        return text_BLV, image_BNK
