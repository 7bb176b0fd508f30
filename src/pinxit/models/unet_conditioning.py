"""What conditions a U-Net: one embedding (time, text and picture in one vector, augmentation), a context sequence.

Shapes: B batch, L text positions, D text width, E embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.models.gpt import GPTBlock, masked_attention
from pinxit.models.unet_blocks import Linear, Text, activate
from pinxit.models.unet_config import UNetConfig


def sinusoids(time_B: Tensor, width: int) -> Tensor:
    """[B] -> [B, width]: cosines, then sines of time * 10000^(-k / half), k = 0 .. half - 1 (ADM: cosines first)."""
    half = width // 2
    steps = torch.arange(half, device=time_B.device, dtype=torch.float32)
    angles = time_B.float()[:, None] * torch.exp(-math.log(10000.0) / half * steps)
    return torch.cat([angles.cos(), angles.sin()], 1)


class LevelEmbedding(nn.Module):
    """A number per picture (time, or a noise level) as a vector: sinusoids, linear, activation, linear."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.width, self.activation = config.channels[0], config.activation
        self.first = Linear(self.width, config.embed_width)
        self.second = Linear(config.embed_width, config.embed_width)

    def forward(self, level_B: Tensor) -> Tensor:
        waves = sinusoids(level_B, self.width).to(self.first.bias.dtype)
        return self.second(activate(self.first(waves), self.activation))  # type: ignore[no-any-return]


class AttentionPool(nn.Module):
    """A sequence as one vector, [B, L, D] -> [B, D]: its mean, plus a learned position, attends to itself and all.

    Masked positions count neither in the mean nor as keys; without any text the learned position is all there is.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Parameter(torch.randn(1, width) * width**-0.5)
        self.query, self.key, self.value = (Linear(width, width) for _ in range(3))

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
        B, _, D = x_BLD.shape
        if mask_BL is None:
            mean, bias = x_BLD.mean(1, keepdim=True), None
        else:
            x_BLD = x_BLD.masked_fill(~mask_BL[:, :, None], 0.0)
            mean = x_BLD.sum(1, keepdim=True) / mask_BL.sum(1).clamp(min=1)[:, None, None].to(x_BLD.dtype)
            bias = F.pad(mask_BL, (1, 0), value=True)[:, None, None]
        first = mean + self.position.to(x_BLD.dtype)
        x_BLD = torch.cat([first, x_BLD], 1)
        q, k, v = (
            layer(given).view(B, -1, self.heads, D // self.heads).transpose(1, 2)
            for layer, given in ((self.query, first), (self.key, x_BLD), (self.value, x_BLD))
        )
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).reshape(B, D)


class PooledText(nn.Module):
    """The text as one vector of the embedding's width: norm, attention pooling, linear, norm (DeepFloyd IF)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.text)
        self.pool = AttentionPool(config.text, config.pool_heads)
        self.proj = Linear(config.text, config.embed_width)
        self.norm2 = nn.LayerNorm(config.embed_width)

    def forward(self, text_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
        pooled = self.pool(self.norm1(text_BLD), mask_BL)
        return self.norm2(self.proj(pooled))  # type: ignore[no-any-return]


class ContextRefiner(nn.Module):
    """Context-refiner layers: transformer blocks over the frozen text, [B, L, D] -> [B, L, D].

    A sentence encoder hardly tells who stands left of whom once its tokens are pooled for meaning; where a word stands
    in the sentence does. Every branch is zero-initialised, so that a trained network can be given these blocks.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            GPTBlock(config.text_width, config.refiner_heads) for _ in range(config.refiner_layers)
        )
        for block in self.blocks:
            for branch in (block.out, block.down):
                assert isinstance(branch, nn.Linear)
                nn.init.zeros_(branch.weight)
                nn.init.zeros_(branch.bias)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
        B, L, D = x_BLD.shape
        seen_BL = x_BLD.new_ones(B, L, dtype=torch.bool) if mask_BL is None else mask_BL.clone()
        seen_BL[:, 0] = True  # a row without text must have something to attend to; nobody reads it
        places = sinusoids(torch.arange(L, device=x_BLD.device), D).to(x_BLD.dtype)
        read = x_BLD + places
        for block in self.blocks:
            read = block(read, masked_attention(seen_BL))
        return read - places


class PictureEmbedding(nn.Module):
    """An embedding of a picture (CLIP's) as a summand of the time embedding and as tokens before the text.

    unCLIP (arXiv 2204.06125, section 2.1). The summand is zero-initialised, so that a trained network which is given
    this part begins all but as it was: four tokens more among hundreds of keys it hardly minds (docs/log.md). They are
    not zero: equal ones would have equal gradients and stay equal. Nor are their keys hidden at first: a bias moves by
    the learning rate an update, and one of -8 would not open before the end of a training.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.count, width = config.image_tokens, config.text_width
        self.embed = Linear(config.image, config.embed_width, zero=True)
        self.tokens = Linear(config.image, self.count * width) if self.count else None

    def before(self, text: Text | None, image_BE: Tensor) -> Text | None:
        """The text with the tokens before it, which no mask hides."""
        if self.tokens is None:
            return text
        tokens_BKD = self.tokens(image_BE).view(len(image_BE), self.count, -1)
        if text is None:
            return Text(tokens_BKD)
        bias = None if text.bias is None else F.pad(text.bias, (self.count, 0))
        return Text(torch.cat([tokens_BKD, text.sequence], 1), bias)


class Conditioning(nn.Module):
    """Every condition of a U-Net besides pictures, as (embedding [B, E], the sequence for its attention or None)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.time = LevelEmbedding(config)
        self.augmentation = LevelEmbedding(config) if config.augmentation else None
        self.pooled = PooledText(config) if config.text and config.pool_heads else None
        self.context = Linear(config.text, config.context) if config.text and config.context else nn.Identity()
        self.context_norm = nn.LayerNorm(config.context) if config.context_norm else None
        self.caption = Linear(config.pooled, config.embed_width, zero=True) if config.pooled else None
        self.reading = ContextRefiner(config) if config.refiner_layers else None
        self.image = PictureEmbedding(config) if config.image else None

    def forward(self, time_B: Tensor, conditions: Mapping[str, Tensor]) -> tuple[Tensor, Text | None]:
        embed, text = self.time(time_B), None
        if self.augmentation is not None:
            embed = embed + self.augmentation(conditions["augmentation"])
        if self.config.text:
            sequence_BLD = conditions["sequence"].to(self.time.first.bias.dtype)
            mask_BL = None if self.config.attend_padding else conditions.get("mask")
            if self.pooled is not None:
                embed = embed + self.pooled(sequence_BLD, mask_BL)
            read = self.context(sequence_BLD)
            if self.context_norm is not None:
                read = self.context_norm(read)
            if self.reading is not None:
                read = self.reading(read, mask_BL)
            text = Text(read, _bias(mask_BL))
        if self.caption is not None:
            embed = embed + self.caption(conditions["pooled"].to(self.time.first.bias.dtype))
        if self.image is not None:
            image_BE = conditions["image"].to(self.time.first.bias.dtype)
            embed = embed + self.image.embed(image_BE)
            text = self.image.before(text, image_BE)
        return activate(embed, self.config.activation) if self.config.activate_once else embed, text


def _bias(mask_BL: Tensor | None) -> Tensor | None:
    """0 where there is text, -inf elsewhere."""
    if mask_BL is None:
        return None
    return torch.zeros(mask_BL.shape, device=mask_BL.device).masked_fill(~mask_BL, float("-inf"))
