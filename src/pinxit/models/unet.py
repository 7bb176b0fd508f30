"""The denoising U-Net: ADM's (Dhariwal and Nichol 2021), as Imagen's base and DeepFloyd IF use it.

Imagen: Saharia et al. 2022 (arXiv 2205.11487), section 2.4 and appendix F. `config.efficient` makes it the Efficient
U-Net of Imagen's super-resolution models. Shapes: B batch, C channels, H W pixels, L text positions, D text width,
E embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.models.efficient_unet import EfficientBody
from pinxit.models.unet_blocks import Attention, AttentionContext, Conv, Linear, Norm, Resample, ResBlock, activate
from pinxit.models.unet_conditioning import Conditioning
from pinxit.models.unet_config import UNetConfig

__all__ = ["UNet", "UNetConfig"]


class Block(nn.Module):
    """A residual block, and attention after it where the level has any."""

    def __init__(self, inputs: int, outputs: int, config: UNetConfig, attends: bool) -> None:
        super().__init__()
        self.res = ResBlock(inputs, outputs, config)
        self.attention = Attention(outputs, outputs, config.heads_of(outputs), config) if attends else None

    def forward(self, x: Tensor, embed: Tensor, text: AttentionContext | None) -> Tensor:
        x = self.res(x, embed)
        return x if self.attention is None else self.attention(x, text)


class Level(nn.Module):
    """The blocks of one resolution, and the step to the next one where there is one."""

    def __init__(
        self, inputs: list[int], width: int, config: UNetConfig, attends: bool, resample: Resample = ""
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(channels, width, config, attends) for channels in inputs)
        self.resample = ResBlock(width, width, config, resample) if resample else None


class Body(nn.Module):
    """ADM's encoder, middle and decoder: every block and downsampling step has a skip to a block on the way up."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths, last = config.channels, len(config.channels) - 1
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips = [widths[0]]
        for place, width in enumerate(widths):
            inputs = [skips[-1]] + [width] * (config.blocks[place] - 1)
            step: Resample = "down" if place < last else ""
            self.down.append(Level(inputs, width, config, config.attention[place], step))
            skips += [width] * (config.blocks[place] + bool(step))
        self.middle = nn.ModuleList(
            Block(widths[-1], widths[-1], config, attends) for attends in (config.middle, False)
        )
        below = widths[-1]
        for place, width in reversed(list(enumerate(widths))):
            inputs = [channels + skips.pop() for channels in [below] + [width] * config.blocks[place]]
            self.up.append(Level(inputs, width, config, config.attention[place], "up" if place else ""))
            below = width

    def forward(self, x: Tensor, embed: Tensor, text: AttentionContext | None) -> Tensor:
        skips = [x]
        for level in self.down:
            assert isinstance(level, Level)
            for block in level.blocks:
                x = block(x, embed, text)
                skips.append(x)
            if level.resample is not None:
                x = level.resample(x, embed)
                skips.append(x)
        for block in self.middle:
            x = block(x, embed, text)
        for level in self.up:
            assert isinstance(level, Level)
            for block in level.blocks:
                x = block(torch.cat([x, skips.pop()], 1), embed, text)
            if level.resample is not None:
                x = level.resample(x, embed)
        return x


class PatchSkip(nn.Module):
    """A skip from input patches to output patches: two linear maps, scaled in between by gains from the embedding.

    A patch of 4 pixels a side holds 48 noisy values, and a small net has hardly more channels. Most of what it must
    predict of them is nearly linear at a given time, and by this skip need not pass through those channels.
    """

    def __init__(self, inputs: int, outputs: int, config: UNetConfig) -> None:
        super().__init__()
        self.activation, self.activate_embed = config.activation, not config.activate_once
        self.enter = Conv(inputs, inputs, 1)
        self.gain = Linear(config.embed_width, inputs)
        self.leave = Conv(inputs, outputs, 1, zero=True)

    def forward(self, patches: Tensor, embed: Tensor, add: Tensor) -> Tensor:
        gain = self.gain(activate(embed, self.activation) if self.activate_embed else embed)
        return self.leave(self.enter(patches) * gain[:, :, None, None], add=add)  # type: ignore[no-any-return]


class UNet(nn.Module):
    """Noisy pictures to a prediction: of the noise, the picture or the velocity, whichever it is trained for."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        area, width = config.patch**2, config.channels[0]
        inputs, outputs = (config.inputs + config.low_res) * area, config.outputs * area
        self.conditioning = Conditioning(config)
        self.stem = Conv(inputs, width)
        self.masked = Conv(config.masked * area, width, zero=True) if config.masked else None
        self.body = EfficientBody(config) if config.efficient else Body(config)
        self.norm = Norm(width, config)
        self.out = Conv(width, outputs, zero=True)
        self.bypass = PatchSkip(inputs, outputs, config) if config.bypass else None

    def forward(self, x: Tensor, time: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """x [B, C, H, W] on the network's scale -> [B, outputs, H, W] in x's dtype.

        `time` [B], in the units of the embedding. `conditions`, those of `config.conditions()`: `sequence`
        [B, L, D] with `mask` [B, L], True where there is text (default: everywhere), False where a position shall have
        no influence; `pooled` [B, P], an embedding of the text; `image` [B, I], a picture's; `low_res` [B, 3, H, W],
        already enlarged and noised, and `augmentation` [B], its noise level; `masked` [B, 4, H, W], a picture with
        holes and its mask. H and W must be multiples of `config.step`. Raises UsageError for a condition that is
        missing, unknown or misshapen.
        """
        assert not any(side % self.config.step for side in x.shape[-2:]), (
            f"sides must be multiples of {self.config.step}"
        )
        self.config.check({name: tensor.shape[1:] for name, tensor in conditions.items()}, x.shape[-2:])
        embed, text = self.conditioning(time, conditions)
        patches = self._patches(torch.cat([x, conditions["low_res"].to(x.dtype)], 1) if self.config.low_res else x)
        h = self.stem(patches)
        if self.masked is not None:
            h = self.masked(self._patches(conditions["masked"]), add=h)
        h = self.body(h, embed, text)
        h = self.out(self.norm(h, self.config.activation))
        if self.bypass is not None:
            h = self.bypass(patches, embed, add=h)
        return F.pixel_shuffle(h, self.config.patch).to(x.dtype)

    def _patches(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C p^2, H / p, W / p] in the weights' type, channels last."""
        patches = F.pixel_unshuffle(x, self.config.patch)
        return patches.to(self.norm.weight.dtype, memory_format=torch.channels_last)
