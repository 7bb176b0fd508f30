"""The priors of unCLIP: P(picture embedding | caption) (arXiv 2204.06125, section 2.2).

Both are causal transformers. The diffusion prior reads the caption's encoded tokens, its CLIP embedding, the time and a
noised picture embedding, and predicts the clean one at a last learned query. The autoregressive prior reads the
caption's tokens and embedding and the quantised dot product that picture and caption shall have, and predicts the
picture's principal components one after the other, each quantised into buckets.

Shapes: B rows, L text positions, D text width, E width of CLIP's embeddings, K coordinates of the embedding that is
predicted (`recipes.unclip.space`), Q buckets, W width of the transformer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.models.conditions import check_conditions
from pinxit.models.layers import Blocks
from pinxit.models.unet_conditioning import sinusoids
from pinxit.schema import Count, Depth, Whole, check_fields

HIDDEN = -1e4  # a bias whose softmax weight is exactly 0; finite, so that rows that see nothing else are not NaN

Pads = Literal["learned", "hidden"]
Pooled = Literal["unit", "raw"]


@dataclass(frozen=True, slots=True)
class PriorConfig:
    """Everything that shapes a prior; the defaults fit the packaged MiniLM and the shipped CLIP."""

    components: Count = 64  # K
    embed: Count = 256  # E
    text: Count = 384  # D
    length: Count = 56  # L
    width: Count = 256  # W
    layers: Depth = 6
    heads: Count = 4
    buckets: Whole = 0  # Q of every component; 0: a diffusion prior
    dots: Whole = 0  # autoregressive prior: buckets of the dot product of picture and caption
    pads: Pads = "learned"  # positions after a caption's end: learned rows, or masked (Karlo)
    pooled: Pooled = "unit"  # CLIP's embedding of a caption: of length one, or unnormalised (Karlo)

    def __post_init__(self) -> None:
        check_fields(self, "prior")
        if self.width % (2 * self.heads):
            raise UsageError(f"prior.width {self.width} must be a multiple of twice its heads, {self.heads}.")
        for name in ("buckets", "dots"):
            if getattr(self, name) == 1:
                raise UsageError(f"prior.{name} must be 0 or at least 2, not 1.")
        if bool(self.buckets) != bool(self.dots):
            reason = f"buckets={self.buckets} and dots={self.dots}"
            raise UsageError(f"prior: {reason} must both be 0 (a diffusion prior) or neither (an autoregressive one).")
        if self.buckets and self.pads == "hidden":
            raise UsageError(f"prior.pads=hidden is for diffusion priors; with buckets={self.buckets} make it learned.")

    def conditions(self) -> dict[str, tuple[int, ...]]:
        """The conditions by name, each with the shape of one sample's tensor."""
        return {"sequence": (self.length, self.text), "mask": (self.length,), "pooled": (self.embed,)}

    def check(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Raise UsageError for conditions that are missing, unknown or of another shape; `shapes` are one sample's."""
        check_conditions("this prior", self.conditions(), shapes)


class Caption(nn.Module):
    """A caption as the first L + 1 tokens: its projected text, then its projected CLIP embedding.

    With learned pads a row whose mask is False everywhere has no caption: all its tokens are pads, and a learned vector
    replaces its embedding. Pads have learned vectors, so that no mask but the causal one is needed. With hidden pads
    (masked ones) an empty caption stands for none, with a start, an end and an embedding like any other.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.text = nn.Linear(config.text, config.width)
        self.pooled = nn.Linear(config.embed, config.width)
        if config.pads == "learned":
            self.embed_pads = nn.Parameter(0.02 * torch.randn(config.length, config.width))
            self.embed_nothing = nn.Parameter(0.02 * torch.randn(config.width))

    def forward(self, conditions: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens [B, L + 1, W], and which rows have a caption, bool [B]."""
        self.config.check({name: tensor.shape[1:] for name, tensor in conditions.items()})
        kind, sequence = self.text.weight.dtype, conditions["sequence"]
        mask_BL = conditions.get("mask", sequence.new_ones(sequence.shape[:2], dtype=torch.bool))
        given_B = mask_BL.any(1)
        # A unit vector's components have a variance of 1 / E: scaled to 1, or the linear layer would hardly see them.
        scale = math.sqrt(self.config.embed) if self.config.pooled == "unit" else 1.0
        text_BLW, pooled_BW = self.text(sequence.to(kind)), self.pooled(scale * conditions["pooled"].to(kind))
        if self.config.pads == "learned":
            text_BLW = torch.where(mask_BL[:, :, None], text_BLW, self.embed_pads)
            pooled_BW = torch.where(given_B[:, None], pooled_BW, self.embed_nothing)
        return torch.cat([text_BLW, pooled_BW[:, None]], 1), given_B

    def hidden(self, conditions: Mapping[str, Tensor], positions: int) -> Tensor | None:
        """The attention bias of each of `positions` as a key, [B, positions]: HIDDEN for a pad, else 0; None: all 0."""
        if self.config.pads == "learned" or "mask" not in conditions:
            return None
        seen = F.pad(conditions["mask"], (0, positions - self.config.length), value=True)
        return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, HIDDEN)


class Trunk(nn.Module):
    """A causal transformer over tokens with learned positions, [B, T, W] -> [B, T, W]."""

    def __init__(self, config: PriorConfig, positions: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(0.01 * torch.randn(positions, config.width))
        self.blocks = Blocks(config.width, config.layers, config.heads, "gelu", causal=True)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x_BTW: Tensor, bias_BT: Tensor | None = None) -> Tensor:
        x_BTW = x_BTW + self.positions[: x_BTW.shape[1]]
        return self.norm(self.blocks(x_BTW, bias_BT))  # type: ignore[no-any-return]


class DiffusionPrior(nn.Module):
    """Reads caption | time | noised embedding | query; the output at the query is the clean embedding."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_caption = Caption(config)
        self.embed_time = nn.Sequential(
            nn.Linear(config.width, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.embed_noisy = nn.Linear(config.components, config.width)
        self.embed_query = nn.Parameter(0.02 * torch.randn(config.width))
        self.trunk = Trunk(config, config.length + 4)
        self.out = nn.Linear(config.width, config.components)
        nn.init.zeros_(self.out.weight)  # at first it predicts the mean of all embeddings
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BK: Tensor, time_B: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """x_t [B, K], variance-preserving and in coordinates of unit variance -> the predicted x_0 [B, K].

        `time_B` in the units of the schedule. Raises UsageError for a condition that is missing, unknown or misshapen.
        """
        kind = self.out.weight.dtype
        caption, _ = self.embed_caption(conditions)
        time = self.embed_time(sinusoids(time_B, self.config.width).to(kind))
        query = self.embed_query.expand_as(time)
        tokens = torch.stack([time, self.embed_noisy(x_BK.to(kind)), query], 1)
        tokens = torch.cat([caption, tokens], 1)
        state_BW = self.trunk(tokens, self.embed_caption.hidden(conditions, tokens.shape[1]))[:, -1]
        return self.out(state_BW).to(x_BK.dtype)  # type: ignore[no-any-return]


class TokenPrior(nn.Module):
    """Reads caption | dot product | components; every component is predicted from all before it."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_caption = Caption(config)
        self.embed_dot = nn.Parameter(0.02 * torch.randn(config.dots + 1, config.width))  # the last: no caption
        self.embed_codes = nn.Parameter(0.02 * torch.randn(config.buckets, config.width))
        self.trunk = Trunk(config, config.length + 1 + config.components)
        self.head = nn.Linear(config.width, config.buckets)
        nn.init.zeros_(self.head.weight)  # at first all buckets are equally likely
        nn.init.zeros_(self.head.bias)

    def prefix(self, conditions: Mapping[str, Tensor], dot_B: Tensor) -> Tensor:
        """What comes before the components, [B, L + 2, W]; without a caption the dot product is "none", too."""
        caption, given_B = self.embed_caption(conditions)
        dot_B = torch.where(given_B, dot_B, self.config.dots)
        return torch.cat([caption, F.embedding(dot_B, self.embed_dot)[:, None].to(caption.dtype)], 1)

    def forward(self, conditions: Mapping[str, Tensor], dot_B: Tensor, codes_BK: Tensor) -> Tensor:
        """Teacher-forced logits float32 [B, K, Q]: those of component k see the codes before it.

        `dot_B` int64 in 0 .. dots - 1; `codes_BK` int64, of which the last is never an input.
        """
        tokens = self.prefix(conditions, dot_B)
        tokens = torch.cat([tokens, F.embedding(codes_BK[:, :-1], self.embed_codes).to(tokens.dtype)], 1)
        states = self.trunk(tokens)[:, self.config.length + 1 :]
        return self.head(states).float()  # type: ignore[no-any-return]


def build_prior(config: PriorConfig) -> DiffusionPrior | TokenPrior:
    """The prior that a config asks for."""
    return TokenPrior(config) if config.buckets else DiffusionPrior(config)
