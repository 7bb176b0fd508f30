"""Pre-norm transformer blocks with GPT-2's initialisation, for token transformer, text transformer and context refiner.

The caller supplies the attention: over a stream of text and picture tokens, or over text whose pads are masked.
Shapes: B batch, L positions, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Attend = Callable[[Tensor, int], Tensor]
"""(concatenated queries, keys and values [B, L, 3 D], H) -> attended values [B, L, D]."""


class GPTBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); [B, L, D] -> [B, L, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x_BLD: Tensor, attend: Attend) -> Tensor:
        x_BLD = x_BLD + self.out(attend(self.qkv(self.norm1(x_BLD)), self.heads))
        return x_BLD + self.down(F.gelu(self.up(self.norm2(x_BLD))))  # type: ignore[no-any-return]


def masked_attention(mask_BL: Tensor) -> Attend:
    """Bidirectional attention to the positions whose mask is True."""

    def attend(qkv_BLE: Tensor, heads: int) -> Tensor:
        B, L, E = qkv_BLE.shape
        q, k, v = qkv_BLE.view(B, L, 3, heads, E // (3 * heads)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BL[:, None, None])
        return mixed.transpose(1, 2).reshape(B, L, E // 3)

    return attend


def gpt2_init(module: nn.Module, layers: int, seed: int) -> None:
    """GPT-2's initialisation: std 0.02, residual outputs over sqrt(2 layers), biases zero, gains of norms one."""
    first = next(module.parameters())
    if first.is_meta:
        return
    generator = torch.Generator(first.device).manual_seed(seed)
    residual = 0.02 * (2 * layers) ** -0.5
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif "norm" in name:
            nn.init.ones_(parameter)
        else:
            std = residual if name.endswith(("out.weight", "down.weight")) else 0.02
            nn.init.normal_(parameter, std=std, generator=generator)
