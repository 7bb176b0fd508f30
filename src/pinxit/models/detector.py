"""The judge's eye: a single-stage, anchor-free detector after "Objects as Points" (Zhou et al. 2019).

A convolution network with a space-to-depth stem; one centre heat map per name; and, read at a centre for a name, the
box, the form, the style, and where to look for the colour, which is then read from the pixels there and nothing else.
Shapes: B pictures, N names, C channels, h and w cells, M objects of all pictures together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.schema import Count

PATCH, STEPS, KEY = 2, 4, 32  # of the palette: pixels a side of a patch, steps of red, green and blue, width of a key
MOST_ALIKE = 4.0  # how much the look of a patch can weigh against its place in or outside the object's box


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """What can be found, and how big the network is."""

    names: tuple[str, ...]
    colours: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()  # how a thing is drawn; "no style" is always the first answer
    places: tuple[str, ...] = ()  # grounds and landscapes a picture can show
    size: Count = 64  # picture side in pixels
    patch: Count = 4  # pixels a side of one cell of the heat map
    widths: tuple[Count, ...] = (64, 128, 192)  # channels at the heat map's resolution, and at each halving
    blocks: tuple[Count, ...] = (1, 3, 2)  # residual blocks at each resolution
    neck: Count = 96  # channels of the merged map that the heads read

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks):
            raise UsageError(f"detector: {len(self.widths)} widths but {len(self.blocks)} counts of blocks.")
        step = self.patch * 2 ** (len(self.widths) - 1)
        if self.size % step:
            raise UsageError(f"detector: picture side {self.size} is not a multiple of {step}.")

    @property
    def grid(self) -> int:
        """Cells a side of the heat map."""
        return self.size // self.patch


class Found(NamedTuple):
    """What the network says about whole pictures."""

    heat: Tensor  # logits [B, N, h, w]
    features: Tensor  # [B, C, h, w], for `Detector.describe`
    paints: Tensor  # [B, P, tones], for `Detector.describe`: shares of tones in every small patch
    keys: Tensor  # [B, P, width], for `Detector.describe`: what a patch is part of
    place: Tensor  # logits [B, places]


class Described(NamedTuple):
    """What the network says about single objects."""

    offset: Tensor  # [M, 2] from the middle of the cell to the centre (x, y), in cells
    extent: Tensor  # [M, 2] natural logarithm of (width, height) as fractions of the picture side
    colour: Tensor  # logits [M, colours]
    form: Tensor  # logits [M, forms]
    style: Tensor  # logits [M, 1 + styles]


def convolution(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


class Residual(nn.Module):
    """Two normed 3 x 3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = convolution(width, width), convolution(width, width)
        self.norm_one, self.norm_two = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm_two.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norm_one(self.one(x)))
        return F.relu(x + self.norm_two(self.two(inner)))


class Stage(nn.Sequential):
    """Fold `fold` x `fold` pixels into channels, then residual blocks."""

    def __init__(self, inputs: int, width: int, blocks: int, fold: int) -> None:
        super().__init__(
            nn.PixelUnshuffle(fold),
            convolution(inputs * fold * fold, width),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *(Residual(width) for _ in range(blocks)),
        )


def tones(pictures_B3HW: Tensor) -> Tensor:
    """Each pixel's shares of the STEPS^3 tones of an even lattice in the colour cube, [B, STEPS^3, H, W].

    A colour between lattice points is shared among the eight around it, so that shares and colours change smoothly.
    """
    levels = torch.arange(STEPS, device=pictures_B3HW.device).view(STEPS, 1, 1)
    red, green, blue = (
        (1 - (pictures_B3HW[:, [i]].clamp(0, 1) * (STEPS - 1) - levels).abs()).clamp(min=0) for i in range(3)
    )
    pairs = (red[:, :, None] * green[:, None]).flatten(1, 2)
    return (pairs[:, :, None] * blue[:, None]).flatten(1, 2)


class Palette(nn.Module):
    """Colours, whatever has them.

    What an object looks like only decides which patches are looked at (attention); what is seen there are tones, told
    from single pixels. So a colour that was never shown in some shape is recognised in it all the same, which a head
    that reads the network's features does not do (docs/log.md).
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.near = nn.Conv2d(3 * PATCH**2, KEY, 3, padding=1)
        self.far = nn.Conv2d(config.neck, KEY, 1)
        self.ask = nn.Linear(config.neck, KEY + 1)
        self.tell = nn.Sequential(nn.Linear(STEPS**3, 64), nn.ReLU(), nn.Linear(64, len(config.colours)))
        side = config.size // PATCH
        middles = (torch.arange(side) + 0.5) / side
        self.register_buffer("middles", middles, persistent=False)

    middles: Tensor

    def forward(self, pictures_B3HW: Tensor, features_BChw: Tensor) -> tuple[Tensor, Tensor]:
        """`Found.paints` and `Found.keys` of pictures in [0, 1]."""
        x = pictures_B3HW * 2 - 1
        paints = F.avg_pool2d(tones(pictures_B3HW), PATCH)
        near = self.near(F.pixel_unshuffle(x, PATCH))
        keys = F.relu(near + F.interpolate(self.far(features_BChw), size=near.shape[2:]))
        return paints.flatten(2).mT, keys.flatten(2).mT

    def colour(self, found: Found, picture_M: Tensor, at_MC: Tensor, boxes_M4: Tensor) -> Tensor:
        """Logits [M, colours] of objects that look like `at_MC` in boxes (middle x and y, half width and height)."""
        asked = self.ask(at_MC).float()
        alike_MP = torch.einsum("mk,mpk->mp", asked[:, :KEY], found.keys[picture_M].float()) * KEY**-0.5
        x, y, half_width, half_height = boxes_M4[:, :, None].unbind(1)
        across = ((self.middles - x) / half_width).square()
        down = ((self.middles - y) / half_height).square()
        outside_MP = (down[:, :, None] + across[:, None, :]).flatten(1) * (1 + F.softplus(asked[:, KEY:]))
        weights_MP = (MOST_ALIKE * torch.tanh(alike_MP / MOST_ALIKE) - outside_MP).softmax(1)
        seen_MT = torch.einsum("mp,mpt->mt", weights_MP, found.paints[picture_M].float())
        return self.tell(seen_MT * STEPS).float()  # type: ignore[no-any-return]


class Detector(nn.Module):
    """`forward` looks at pictures, `describe` at single objects in them."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        folds = (config.patch, *(2 for _ in config.widths[1:]))
        inputs = (3, *config.widths[:-1])
        self.stages = nn.ModuleList(
            Stage(i, width, blocks, fold)
            for i, width, blocks, fold in zip(inputs, config.widths, config.blocks, folds, strict=True)
        )
        self.sides = nn.ModuleList(convolution(width, config.neck, 1) for width in config.widths)
        self.merge = nn.ModuleList(Residual(config.neck) for _ in config.widths)
        self.heat = nn.Conv2d(config.neck, len(config.names), 1)
        self.place = nn.Linear(config.widths[-1], len(config.places)) if config.places else None
        self.names = nn.Embedding(len(config.names), config.neck)
        self.answers = (2, 2, len(config.forms), 1 + len(config.styles))
        self.tell = nn.Sequential(
            nn.Linear(config.neck, 2 * config.neck), nn.ReLU(), nn.Linear(2 * config.neck, sum(self.answers))
        )
        self.palette = Palette(config) if config.colours else None
        nn.init.normal_(self.heat.weight, std=config.neck**-0.5)
        assert self.heat.bias is not None
        nn.init.constant_(self.heat.bias, -4.6)  # a cell holds a centre of a name once in a hundred

    def forward(self, pictures_B3HW: Tensor) -> Found:
        """Pictures in [0, 1] at the config's size."""
        x = (pictures_B3HW * 2 - 1).contiguous(memory_format=torch.channels_last)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        place = self.place(x.mean((2, 3))) if self.place else x.new_zeros(len(x), 0)
        merged: Tensor | None = None
        for side, merge, level in reversed(list(zip(self.sides, self.merge, maps, strict=True))):
            level = side(level)
            merged = merge(level if merged is None else level + F.interpolate(merged, scale_factor=2.0))
        assert merged is not None
        none = merged.new_zeros(len(x), 0, 0)
        paints, keys = self.palette(pictures_B3HW, merged) if self.palette else (none, none)
        return Found(self.heat(merged), merged, paints, keys, place)

    def describe(self, found: Found, picture_M: Tensor, name_M: Tensor, cell_M: Tensor) -> Described:
        """The objects named `name` whose centres lie in flat `cell` of `picture` (int64 [M] each)."""
        columns = self.config.grid
        at_MC = F.relu(found.features[picture_M, :, cell_M // columns, cell_M % columns] + self.names(name_M))
        offset, extent, form, style = self.tell(at_MC).float().split(self.answers, 1)
        middle = (torch.stack([cell_M % columns, cell_M // columns], 1) + 0.5 + offset) / columns
        boxes = torch.cat([middle, extent.exp().clamp(0.02, 2.0) / 2], 1).detach()
        colour = self.palette.colour(found, picture_M, at_MC, boxes) if self.palette else form[:, :0]
        return Described(offset, extent, colour, form, style)
