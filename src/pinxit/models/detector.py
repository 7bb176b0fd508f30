"""The judge's network: a single-stage, anchor-free detector after "Objects as Points" (Zhou et al. 2019).

A convolutional network with a space-to-depth stem; one centre heat map per name; and, read at a centre for a name, the
box, the form, the style, and where to look for the colour, which is then read from the pixels there and nothing else
(`colour_attention.py`). A larger config also predicts materials, garments and their colours, who does what to whom, the
view and the light of the whole picture, and the words on boards (`letter_reader.py`).
Shapes: B pictures, N names, C channels, h and w cells, M objects of all pictures together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.models.colour_attention import ColourAttention
from pinxit.models.detector_config import DetectorConfig, ObjectPredictions, PicturePredictions
from pinxit.models.letter_reader import LetterReader

__all__ = ["Detector", "DetectorConfig", "ObjectPredictions", "PicturePredictions"]

RARE = -3.0  # initial logit of an answer that is seldom right


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
        self.palette = ColourAttention(config) if config.colours else None
        self.further = (_answers(config.materials), len(config.garments), *[len(config.links)] * 2)
        self.settings = (_answers(config.views), _answers(config.lights))
        self.tell_further = (
            nn.Sequential(nn.Linear(config.neck, 2 * config.neck), nn.ReLU(), nn.Linear(2 * config.neck, n))
            if (n := sum(self.further))
            else None
        )
        self.whole = nn.Linear(sum(config.widths), n) if (n := sum(self.settings)) else None
        self.reader = LetterReader(len(config.letters)) if config.letters else None
        nn.init.normal_(self.heat.weight, std=config.neck**-0.5)
        assert self.heat.bias is not None
        nn.init.constant_(self.heat.bias, -4.6)  # a cell holds a centre of a name once in a hundred
        for layers in (self.tell_further, self.whole):
            for bias in [] if layers is None else [list(layers.parameters())[-1]]:
                nn.init.constant_(bias, RARE)  # all that they predict is rare
        with torch.no_grad():
            list(self.tell.parameters())[-1][4:] = RARE

    def forward(self, pictures_B3HW: Tensor) -> PicturePredictions:
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
        return PicturePredictions(self.heat(merged), merged, paints, keys, place, view, light)

    def describe(
        self, output: PicturePredictions, picture_M: Tensor, name_M: Tensor, cell_M: Tensor
    ) -> ObjectPredictions:
        """The objects named `name` whose centres lie in flat `cell` of `picture` (int64 [M] each)."""
        bare_MC = self._at(output, picture_M, cell_M)
        at_MC = F.relu(bare_MC + self.names(name_M))
        offset, extent, form, style = self.tell(at_MC).float().split(self.answers, 1)
        boxes = self._boxes(cell_M, offset, extent)
        colour = self.palette.colour(output, picture_M, at_MC, boxes) if self.palette else form[:, :0]
        # What is worn or done is predicted without the name's embedding: training never shows some names doing it.
        further = self.tell_further(bare_MC).float() if self.tell_further else form[:, :0]
        return ObjectPredictions(offset, extent, colour, form, style, *further.split(self.further, 1))

    def dress(
        self, output: PicturePredictions, picture_M: Tensor, cell_M: Tensor, described: ObjectPredictions
    ) -> Tensor:
        """Logits [M, garments, colours] of what described objects wear."""
        assert self.palette is not None
        boxes = self._boxes(cell_M, described.offset, described.extent)
        return self.palette.garment_colours(output, picture_M, self._at(output, picture_M, cell_M), boxes)

    def _at(self, output: PicturePredictions, picture_M: Tensor, cell_M: Tensor) -> Tensor:
        columns = self.config.grid
        return output.features[picture_M, :, cell_M // columns, cell_M % columns]

    def _boxes(self, cell_M: Tensor, offset: Tensor, extent: Tensor) -> Tensor:
        """Middle x and y, half width and height as shares of the side, [M, 4]: where the palette looks."""
        columns = self.config.grid
        middle = (torch.stack([cell_M % columns, cell_M // columns], 1) + 0.5 + offset) / columns
        return torch.cat([middle, extent.exp().clamp(0.02, 2.0) / 2], 1).detach()


def _answers(words: tuple[str, ...]) -> int:
    """Outputs of a head: one for each word and one for none of them; a head without words has none."""
    return 1 + len(words) if words else 0
