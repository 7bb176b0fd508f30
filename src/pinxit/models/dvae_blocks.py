"""The discrete VAE's convolutional networks: DALL-E (arXiv 2102.12092), appendix A.1 and figures 7 and 8.

No normalisation anywhere; every residual branch is scaled by a constant gain instead.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv(nn.Module):
    """Convolution with "same" padding, weights from N(0, 1 / sqrt(n_in * kernel^2)) and zero bias.

    `exact` keeps it out of autocast: the two 1 x 1 convolutions at the relaxation need full precision.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, generator: torch.Generator, exact: bool = False) -> None:
        super().__init__()
        self.exact = exact
        self.padding = (kernel - 1) // 2
        self.weight = nn.Parameter(torch.empty(n_out, n_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(n_out))
        if not self.weight.is_meta:
            scale = (n_in * kernel**2) ** -0.5
            drawn = torch.randn(self.weight.shape, generator=generator, device="cpu")
            self.weight.data.copy_(drawn.mul_(scale))

    def forward(self, x: Tensor) -> Tensor:
        if not self.exact or x.is_meta:  # the meta device knows no autocast
            return F.conv2d(x, self.weight, self.bias, padding=self.padding)
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.to(self.weight.dtype), self.weight, self.bias, padding=self.padding)


class Block(nn.Module):
    """id(x) + gain * res(x): four convolutions through a quarter of the width, each after a ReLU.

    The encoder's kernels are 3, 3, 3, 1 and the decoder's the mirror, 1, 3, 3, 3.
    """

    def __init__(
        self, n_in: int, n_out: int, kernels: tuple[int, ...], gain: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.gain = gain
        self.identity = Conv(n_in, n_out, 1, generator) if n_in != n_out else nn.Identity()
        widths = (n_in, *[n_out // 4] * (len(kernels) - 1), n_out)
        self.residual = nn.ModuleList(
            Conv(a, b, k, generator) for (a, b), k in zip(pairwise(widths), kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for conv in self.residual:
            h = conv(F.relu(h))
        return torch.add(self.identity(x), h, alpha=self.gain)


def _stage(widths: list[int], kernels: tuple[int, ...], gain: float, generator: torch.Generator) -> nn.Sequential:
    return nn.Sequential(*[Block(a, b, kernels, gain, generator) for a, b in pairwise(widths)])


class Encoder(nn.Module):
    """phi(pictures) [B, 3, H, W] to [B, n_out, h, w]: logits or vectors, as the quantiser wants them."""

    def __init__(
        self, channels: int, groups: int, blocks: int, patch: int, gain: float, n_out: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.patch = patch
        self.input = Conv(3 * patch**2, channels, 7 if patch == 1 else 3, generator)
        self.groups = nn.ModuleList()
        width = channels
        for group in range(groups):
            widths = [width] + [channels * 2**group] * blocks
            self.groups.append(_stage(widths, (3, 3, 3, 1), gain, generator))
            width = widths[-1]
        self.output = Conv(width, n_out, 1, generator, exact=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(F.pixel_unshuffle(x, self.patch))
        for number, group in enumerate(self.groups):
            x = group(F.max_pool2d(x, 2) if number else x)
        out: Tensor = self.output(F.relu(x))
        return out


class Decoder(nn.Module):
    """Vectors of codes, after `input`, to [B, 6, H, W]: three locations mu, then three log scales ln b.

    `input` is applied by the caller, who may look a code's row up instead of multiplying a one-hot by it.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        blocks: int,
        patch: int,
        gain: float,
        n_in: int,
        n_init: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.input = Conv(n_in, n_init, 1, generator, exact=True)
        self.groups = nn.ModuleList()
        width = n_init
        for group in reversed(range(groups)):
            widths = [width] + [channels * 2**group] * blocks
            self.groups.append(_stage(widths, (1, 3, 3, 3), gain, generator))
            width = widths[-1]
        self.output = Conv(width, 6 * patch**2, 1, generator)

    def forward(self, x: Tensor) -> Tensor:
        for number, group in enumerate(self.groups):
            x = group(F.interpolate(x, scale_factor=2.0, mode="nearest") if number else x)
        return F.pixel_shuffle(self.output(F.relu(x)), self.patch)
