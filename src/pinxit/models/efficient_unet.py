"""The Efficient U-Net's body: Imagen's super-resolution models (Saharia et al. 2022, section 2.4 and appendix B.1).

How it differs from ADM's: downsampling comes before a level's convolutions and upsampling after them, so that only two
convolutions run at full resolution; there is one skip a level instead of one a block; skips are scaled by 1/sqrt(2).
The paper leaves open how a skip joins: here it is concatenated, and the stem's, which has the output's shape, is added.
Shapes: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pinxit.models.unet_blocks import Attention, AttentionContext, Conv, ResBlock, resampled
from pinxit.models.unet_config import UNetConfig

SKIP = 2**-0.5  # keeps the variance of a sum of two


class DownLevel(nn.Module):
    """Downsample, then the blocks, then attention where the level has any."""

    def __init__(self, above: int, width: int, blocks: int, config: UNetConfig, attends: bool) -> None:
        super().__init__()
        self.step = Conv(above, width, stride=2)
        self.blocks = nn.ModuleList(ResBlock(width, width, config) for _ in range(blocks))
        self.attention = Attention(width, 2 * width, config.heads_of(width), config) if attends else None

    def forward(self, x: Tensor, embed: Tensor, text: AttentionContext | None) -> Tensor:
        x = self.step(x)
        for block in self.blocks:
            x = block(x, embed)
        return x if self.attention is None else self.attention(x, text)


class UpLevel(nn.Module):
    """The blocks, of which the first also takes the skip; then attention; then upsample.

    The deepest level has no skip: it would be the input itself.
    """

    def __init__(self, width: int, above: int, blocks: int, config: UNetConfig, attends: bool, deepest: bool) -> None:
        super().__init__()
        inputs = [width if deepest else 2 * width] + [width] * (blocks - 1)
        self.blocks = nn.ModuleList(ResBlock(channels, width, config) for channels in inputs)
        self.attention = Attention(width, 2 * width, config.heads_of(width), config) if attends else None
        self.step = Conv(width, above)

    def forward(self, x: Tensor, skip: Tensor | None, embed: Tensor, text: AttentionContext | None) -> Tensor:
        if skip is not None:
            x = torch.cat([x, SKIP * skip], 1)
        for block in self.blocks:
            x = block(x, embed)
        if self.attention is not None:
            x = self.attention(x, text)
        return self.step(resampled(x, "up"))  # type: ignore[no-any-return]


class EfficientBody(nn.Module):
    """All levels down and up again, [B, C, H, W] -> [B, C, H, W] with C the first level's width."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths, last = config.channels, len(config.channels) - 1
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for place, width in enumerate(widths):
            above, shape = widths[max(place - 1, 0)], (config.blocks[place], config, config.attention[place])
            self.down.append(DownLevel(above, width, *shape))
            self.up.insert(0, UpLevel(width, above, *shape, deepest=place == last))

    def forward(self, x: Tensor, embed: Tensor, text: AttentionContext | None) -> Tensor:
        stem = x
        skips: list[Tensor | None] = []
        for level in self.down:
            x = level(x, embed, text)
            skips.append(x)
        skips[-1] = None
        for level in self.up:
            x = level(x, skips.pop(), embed, text)
        return (x + stem) * SKIP
