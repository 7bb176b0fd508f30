"""CLIP's ModifiedResNet (Radford et al. 2021, section 2.4): a ResNet-D with antialiased strides and attention pooling.

Layers have OpenAI's names, so that published weights need no renaming. Shapes: B batch, C channels, D = 32 w features,
E shared embedding, h w the last map (1/32 of the picture's side).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.models.layers import Activation, Blocks

EXPANSION = 4  # a bottleneck's output channels over its inner ones
HEAD = 64  # channels of one attention head


def _norm_last(width: int) -> nn.BatchNorm2d:
    """The norm at the end of a block starts at zero gain: every block begins as its shortcut."""
    norm = nn.BatchNorm2d(width)
    nn.init.zeros_(norm.weight)
    return norm


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, pool, 1 x 1 beside a shortcut, [B, C, H, W] -> [B, 4 planes, H / stride, W / stride].

    All convolutions have stride 1: an average pool shrinks the map, in the shortcut too.
    """

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = planes * EXPANSION
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = _norm_last(outputs)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = self.pool(F.relu(self.bn2(self.conv2(inner))))
        short = x if self.downsample is None else self.downsample(self.pool(x))
        return F.relu(short + self.bn3(self.conv3(inner)))


class AttentionPool(nn.Module):
    """Attention over the map's positions with the map's mean as the only query, [B, D, h, w] -> [B, E]."""

    def __init__(self, grid: int, width: int, heads: int, embed: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(grid * grid + 1, width) * width**-0.5)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, embed)
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=width**-0.5)

    def pooled(self, x_BDhw: Tensor) -> Tensor:
        """The attended values before the output projection, [B, D]."""
        x_BND = x_BDhw.flatten(2).transpose(1, 2)
        x_BND = torch.cat([x_BND.mean(1, keepdim=True), x_BND], 1)
        x_BND = x_BND + self.positional_embedding.to(x_BND.dtype)
        q_B1D, k_BND, v_BND = self.q_proj(x_BND[:, :1]), self.k_proj(x_BND), self.v_proj(x_BND)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q_B1D, k_BND, v_BND))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1)

    def forward(self, x_BDhw: Tensor) -> Tensor:
        return self.c_proj(self.pooled(x_BDhw))  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """Transformer blocks over the last map, [B, D, h, w] -> the map plus their output, which is zero at first.

    The attention pool alone sums over positions, so that "a cat left of a dog" and "a dog left of a cat" look alike.
    """

    def __init__(self, grid: int, width: int, inner: int, layers: int, activation: Activation) -> None:
        super().__init__()
        self.enter = nn.Linear(width, inner)
        self.positions = nn.Parameter(torch.randn(grid * grid, inner) * inner**-0.5)
        self.blocks = Blocks(inner, layers, max(1, inner // HEAD), activation)
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x_BDhw: Tensor) -> Tensor:
        x_BND = x_BDhw.flatten(2).transpose(1, 2)
        update_BND: Tensor = self.leave(self.norm(self.blocks(self.enter(x_BND) + self.positions.to(x_BND.dtype))))
        return x_BDhw + update_BND.transpose(1, 2).view_as(x_BDhw)


class ResNetTower(nn.Module):
    """Stem, stages, attention pool: `features` [B, 3, S, S] -> [B, D], `forward` -> [B, E].

    `mixing` transformer blocks of width `mixing_width` may come before the pool; the paper has none.
    """

    def __init__(
        self,
        size: int,
        width: int,
        stages: tuple[int, ...],
        embed: int,
        mixing: int = 0,
        mixing_width: int = 256,
        activation: Activation = "quickgelu",
    ) -> None:
        super().__init__()
        half, self._inputs = width // 2, width
        self.conv1 = nn.Conv2d(3, half, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        for number, blocks in enumerate(stages):
            self.add_module(f"layer{number + 1}", self._stage(width * 2**number, blocks, 1 if number == 0 else 2))
        depth = 2 ** (len(stages) + 1)
        grid = size // depth
        self.mixer = Mixer(grid, self._inputs, mixing_width, mixing, activation) if mixing else None
        self.attnpool = AttentionPool(grid, self._inputs, self._inputs // HEAD, embed)
        self.stages = len(stages)

    def _stage(self, planes: int, blocks: int, stride: int) -> nn.Sequential:
        made = []
        for number in range(blocks):
            made.append(Bottleneck(self._inputs, planes, stride if number == 0 else 1))
            self._inputs = planes * EXPANSION
        return nn.Sequential(*made)

    def map(self, x_BCHW: Tensor) -> Tensor:
        """The last feature map, [B, D, h, w]."""
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x_BCHW = F.relu(norm(conv(x_BCHW)))
        x_BCHW = F.avg_pool2d(x_BCHW, 2)
        for number in range(self.stages):
            x_BCHW = self.get_submodule(f"layer{number + 1}")(x_BCHW)
        return x_BCHW if self.mixer is None else self.mixer(x_BCHW)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """The pooled features before the projection, [B, D]: what a linear probe reads (section 3.2)."""
        return self.attnpool.pooled(self.map(x_BCHW))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.attnpool(self.map(x_BCHW))  # type: ignore[no-any-return]
