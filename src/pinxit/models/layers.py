"""Transformer parts that both towers of CLIP share. Shapes: B batch, L positions, D width."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["quickgelu", "gelu"]
SHORT = 256  # positions up to which plain products beat the CPU's fused attention kernel


def quickgelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), the activation of the published CLIP models."""
    return x * torch.sigmoid(1.702 * x)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, bias_BL: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v over [B, H, L, d]; `bias_BL` is each key's.

    The CPU's fused kernel is made for long sequences; for short ones plain products are six times as fast, forward and
    backward (65 positions of 4 heads, bf16, one core).
    """
    B, H, L, d = q.shape
    if bias_BL is not None:
        later = torch.full((L, L), float("-inf") if causal else 0.0, dtype=q.dtype, device=q.device).triu(1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=(later + bias_BL[:, None].to(q.dtype))[:, None])
    if q.device.type != "cpu" or L > SHORT or torch._C._get_tracing_state():  # exporters know this operator
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    q, k, v = (x.reshape(B * H, L, d) for x in (q, k, v))
    mask = torch.full((L, L), float("-inf") if causal else 0.0, dtype=q.dtype).triu(1)
    weights = torch.baddbmm(mask, q, k.mT, alpha=d**-0.5).softmax(-1)
    return (weights @ v).view(B, H, L, d)


class Attention(nn.Module):
    """Multi-head self-attention with one packed projection, [B, L, D] -> [B, L, D]."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, bias_BL: Tensor | None = None) -> Tensor:
        B, L, D = x_BLD.shape
        q, k, v = self.qkv(x_BLD).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v, self.causal, bias_BL)
        return self.out(mixed.transpose(1, 2).reshape(B, L, D))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm residual block: attention, then a four times wider MLP."""

    def __init__(self, width: int, heads: int, activation: Activation, causal: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, causal)
        self.ln_2 = nn.LayerNorm(width)
        self.fc = nn.Linear(width, 4 * width)
        self.proj = nn.Linear(4 * width, width)
        self.activation = quickgelu if activation == "quickgelu" else F.gelu

    def forward(self, x_BLD: Tensor, bias_BL: Tensor | None = None) -> Tensor:
        x_BLD = x_BLD + self.attn(self.ln_1(x_BLD), bias_BL)
        return x_BLD + self.proj(self.activation(self.fc(self.ln_2(x_BLD))))  # type: ignore[no-any-return]


class Blocks(nn.Sequential):
    """`layers` blocks with the initialisation of CLIP's reference implementation.

    Standard deviations: attention input width^-0.5, first MLP layer (2 width)^-0.5, both residual outputs
    width^-0.5 (2 layers)^-0.5.
    """

    def __init__(self, width: int, layers: int, heads: int, activation: Activation, causal: bool = False) -> None:
        super().__init__(*(Block(width, heads, activation, causal) for _ in range(layers)))
        residual = width**-0.5 * (2 * layers) ** -0.5
        for block in self:
            assert isinstance(block, Block)
            for layer, std in (
                (block.attn.qkv, width**-0.5),
                (block.attn.out, residual),
                (block.fc, (2 * width) ** -0.5),
                (block.proj, residual),
            ):
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)

    def forward(self, x_BLD: Tensor, bias_BL: Tensor | None = None) -> Tensor:
        """[B, L, D] -> [B, L, D]; `bias_BL` is added to the scores of every key: a large negative one hides it."""
        for block in self:
            x_BLD = block(x_BLD, bias_BL)
        return x_BLD
