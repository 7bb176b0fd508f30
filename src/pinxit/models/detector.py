"""The judge's eye: a single-stage, anchor-free detector after "Objects as Points" (Zhou et al. 2019).

A convolution network with a space-to-depth stem; one centre heat map per name; and, read at a centre for a name, the
box, the form, the style, and where to look for the colour, which is then read from the pixels there and nothing else
(`palette.py`). A larger config also tells materials, garments and their colours, who does what to whom, the view and
the light of the whole picture, and the words on boards (`reader.py`).
Shapes: B pictures, N names, C channels, h and w cells, M objects of all pictures together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.models.palette import Palette
from pinxit.models.reader import Reader

RARE = -3.0  # where the logit of an answer begins that is seldom right


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """What can be found, and how big the network is."""

    names: tuple[str, ...]
    colours: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()  # how a thing is drawn; "no style" is always the first answer
    places: tuple[str, ...] = ()  # grounds and landscapes a picture can show
    size: int = 64  # picture side in pixels
    patch: int = 4  # pixels a side of one cell of the heat map
    widths: tuple[int, ...] = (64, 128, 192)  # channels at the heat map's resolution, and at each halving
    blocks: tuple[int, ...] = (1, 3, 2)  # residual blocks at each resolution
    neck: int = 96  # channels of the merged map that the heads read
    # What only some judges tell; a head that is empty here has no weights.
    materials: tuple[str, ...] = ()  # what a thing can be made of; "its own" is always the first answer
    garments: tuple[str, ...] = ()
    links: tuple[str, ...] = ()  # what one thing can do to another; each thing may be the one or the other
    views: tuple[str, ...] = ()  # the usual view and light are always the first answers
    lights: tuple[str, ...] = ()
    letters: str = ""  # what can be read

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
    view: Tensor  # logits [B, 1 + views], [B, 0] where none are told, like the next
    light: Tensor  # logits [B, 1 + lights]


class Described(NamedTuple):
    """What the network says about single objects."""

    offset: Tensor  # [M, 2] from the middle of the cell to the centre (x, y), in cells
    extent: Tensor  # [M, 2] natural logarithm of (width, height) as fractions of the picture side
    colour: Tensor  # logits [M, colours]
    form: Tensor  # logits [M, forms]
    style: Tensor  # logits [M, 1 + styles]
    material: Tensor  # logits [M, 1 + materials], [M, 0] where none are told
    worn: Tensor  # logits [M, garments]
    does: Tensor  # logits [M, links]: that it does this to another
    undergoes: Tensor  # logits [M, links]: that another does this to it


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
        numbers = config.size, config.neck, len(config.colours), len(config.garments)
        self.palette = Palette(*numbers) if config.colours else None
        self.further = (_answers(config.materials), len(config.garments), *[len(config.links)] * 2)
        self.settings = (_answers(config.views), _answers(config.lights))
        self.tell_further = (
            nn.Sequential(nn.Linear(config.neck, 2 * config.neck), nn.ReLU(), nn.Linear(2 * config.neck, n))
            if (n := sum(self.further))
            else None
        )
        self.whole = nn.Linear(sum(config.widths), n) if (n := sum(self.settings)) else None
        self.reader = Reader(len(config.letters)) if config.letters else None
        nn.init.normal_(self.heat.weight, std=config.neck**-0.5)
        assert self.heat.bias is not None
        nn.init.constant_(self.heat.bias, -4.6)  # a cell holds a centre of a name once in a hundred
        for layers in (self.tell_further, self.whole):
            for bias in [] if layers is None else [list(layers.parameters())[-1]]:
                nn.init.constant_(bias, RARE)  # whatever they tell is rare
        with torch.no_grad():
            list(self.tell.parameters())[-1][4:] = RARE

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
        pooled = torch.cat([level.mean((2, 3)) for level in maps], 1) if self.whole else x.new_zeros(len(x), 0)
        settings = self.whole(pooled) if self.whole else pooled
        view, light = settings.float().split(self.settings, 1)
        return Found(self.heat(merged), merged, paints, keys, place, view, light)

    def describe(self, found: Found, picture_M: Tensor, name_M: Tensor, cell_M: Tensor) -> Described:
        """The objects named `name` whose centres lie in flat `cell` of `picture` (int64 [M] each)."""
        bare_MC = self._at(found, picture_M, cell_M)
        at_MC = F.relu(bare_MC + self.names(name_M))
        offset, extent, form, style = self.tell(at_MC).float().split(self.answers, 1)
        boxes = self._boxes(cell_M, offset, extent)
        colour = (
            self.palette.colour((found.paints, found.keys), picture_M, at_MC, boxes) if self.palette else form[:, :0]
        )
        # Who wears or does something is told without regard to the name: some names are never shown so.
        further = self.tell_further(bare_MC).float() if self.tell_further else form[:, :0]
        return Described(offset, extent, colour, form, style, *further.split(self.further, 1))

    def dress(self, found: Found, picture_M: Tensor, cell_M: Tensor, told: Described) -> Tensor:
        """Logits [M, garments, colours] of what described objects wear."""
        assert self.palette is not None
        boxes = self._boxes(cell_M, told.offset, told.extent)
        seen, at_MC = (found.paints, found.keys), self._at(found, picture_M, cell_M)
        return self.palette.garment_colours(seen, picture_M, at_MC, boxes)

    def _at(self, found: Found, picture_M: Tensor, cell_M: Tensor) -> Tensor:
        columns = self.config.grid
        return found.features[picture_M, :, cell_M // columns, cell_M % columns]

    def _boxes(self, cell_M: Tensor, offset: Tensor, extent: Tensor) -> Tensor:
        """Middle x and y, half width and height as shares of the side, [M, 4], for the palette to look in."""
        columns = self.config.grid
        middle = (torch.stack([cell_M % columns, cell_M // columns], 1) + 0.5 + offset) / columns
        return torch.cat([middle, extent.exp().clamp(0.02, 2.0) / 2], 1).detach()


def _answers(words: tuple[str, ...]) -> int:
    """How many answers a question has: none of the words is one; no question without words."""
    return 1 + len(words) if words else 0
