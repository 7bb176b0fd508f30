"""How a U-Net is conditioned: one vector (time, noise level, pooled text, picture embedding) and a context sequence.

Shapes: B batch, L text positions, D text width, E embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.models.gpt import GPTBlock, masked_attention
from pinxit.models.unet_blocks import AttentionContext, Linear, activate
from pinxit.models.unet_config import UNetConfig


def sinusoids(time_B: Tensor, width: int) -> Tensor:
    """[B] -> [B, width]: cosines, then sines of time * 10000^(-k / half), k = 0 .. half - 1 (ADM: cosines first).

    An odd width ends with a zero, as in ADM.
    """
    half = width // 2
    steps = torch.arange(half, device=time_B.device, dtype=torch.float32)
    angles = time_B.float()[:, None] * torch.exp(-math.log(10000.0) / max(half, 1) * steps)
    return F.pad(torch.cat([angles.cos(), angles.sin()], 1), (0, width % 2))


class LevelEmbedding(nn.Module):
    """One number per picture (time, or a noise level) as a vector: sinusoids, linear, activation, linear."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.width, self.activation = config.channels[0], config.activation
        self.first = Linear(self.width, config.embed_width)
        self.second = Linear(config.embed_width, config.embed_width)

    def forward(self, level_B: Tensor) -> Tensor:
        waves = sinusoids(level_B, self.width).to(self.first.bias.dtype)
        return self.second(activate(self.first(waves), self.activation))  # type: ignore[no-any-return]


class AttentionPool(nn.Module):
    """A sequence as one vector, [B, L, D] -> [B, D]: its mean plus a learned vector attends to itself and the sequence.

    Masked positions count neither in the mean nor as keys; without any text the learned vector is the only key.
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
            layer(x).view(B, -1, self.heads, D // self.heads).transpose(1, 2)
            for layer, x in ((self.query, first), (self.key, x_BLD), (self.value, x_BLD))
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

    A sentence encoder is trained for pooled meaning, and its tokens hardly say who is left of whom; the order of the
    words does, so positions are added. Branches are zero-initialised: a trained network can be given these blocks.
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
        seen_BL[:, 0] = True  # a row without text must have something to attend to; its output is masked later
        places = sinusoids(torch.arange(L, device=x_BLD.device), D).to(x_BLD.dtype)
        refined = x_BLD + places
        for block in self.blocks:
            refined = block(refined, masked_attention(seen_BL))
        return refined - places


class MLP(nn.Sequential):
    """Two hidden layers, for what an embedding tells but not linearly: [B, inputs] -> [B, width]."""

    def __init__(self, inputs: int, width: int) -> None:
        layers = [Linear(inputs, width), nn.GELU(), nn.LayerNorm(width)]
        super().__init__(*layers, Linear(width, width), nn.GELU(), nn.LayerNorm(width))


class PictureEmbedding(nn.Module):
    """A picture's CLIP embedding, added to the time embedding and put as tokens before the text.

    unCLIP (arXiv 2204.06125, section 2.1). The projection that is added is zero-initialised, so that a trained network
    that is given this part starts almost unchanged: four more tokens among hundreds of keys cost it little
    (docs/log.md). The tokens themselves are not zero-initialised: equal ones would have equal gradients and stay equal.
    Nor are their keys hidden behind a bias at first: AdamW moves it by the learning rate an update, so that one of -8
    would still hide them when training ends.
    With `image_hidden` both projections read what an MLP makes of it (a departure: docs/architecture.md).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.count, width = config.image_tokens, config.text_width
        hidden, read = config.image_hidden, config.image_hidden or config.image
        self.mlp = MLP(config.image, hidden) if hidden else nn.Identity()
        self.embed = Linear(read, config.embed_width, zero=True)
        self.tokens = Linear(read, self.count * width) if self.count else None

    def forward(self, text: AttentionContext | None, image_BE: Tensor) -> tuple[Tensor, AttentionContext | None]:
        """What is added to the time embedding, and the text with the picture's tokens before it."""
        read_BE = self.mlp(image_BE)
        return self.embed(read_BE), self.before(text, read_BE)

    def before(self, text: AttentionContext | None, read_BE: Tensor) -> AttentionContext | None:
        """The text with the picture's tokens before it, which are never masked."""
        if self.tokens is None:
            return text
        tokens_BKD = self.tokens(read_BE).view(len(read_BE), self.count, -1)
        if text is None:
            return AttentionContext(tokens_BKD)
        bias = None if text.bias is None else F.pad(text.bias, (self.count, 0))
        return AttentionContext(torch.cat([tokens_BKD, text.sequence], 1), bias)


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

    def forward(self, time_B: Tensor, conditions: Mapping[str, Tensor]) -> tuple[Tensor, AttentionContext | None]:
        embed, text = self.time(time_B), None
        if self.augmentation is not None:
            embed = embed + self.augmentation(conditions["augmentation"])
        if self.config.text:
            mask_BL = None if self.config.attend_padding else conditions.get("mask")
            pooled, context = self.read(conditions["sequence"].to(self.time.first.bias.dtype), mask_BL)
            if pooled is not None:
                embed = embed + pooled
            text = AttentionContext(context, _bias(mask_BL))
        if self.caption is not None:
            embed = embed + self.caption(conditions["pooled"].to(self.time.first.bias.dtype))
        if self.image is not None:
            image_BE = conditions["image"].to(self.time.first.bias.dtype)
            added, text = self.image(text, image_BE)
            embed = embed + added
        return activate(embed, self.config.activation) if self.config.activate_once else embed, text

    def read(self, sequence_BLD: Tensor, mask_BL: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """What the network makes of a text: a vector for its embedding, if it pools text, and a context [B, L, D]."""
        pooled = None if self.pooled is None else self.pooled(sequence_BLD, mask_BL)
        context = self.context(sequence_BLD)
        if self.context_norm is not None:
            context = self.context_norm(context)
        if self.reading is not None:
            context = self.reading(context, mask_BL)
        return pooled, context


def _bias(mask_BL: Tensor | None) -> Tensor | None:
    """0 where there is text, -inf elsewhere."""
    if mask_BL is None:
        return None
    return torch.zeros(mask_BL.shape, device=mask_BL.device).masked_fill(~mask_BL, float("-inf"))
