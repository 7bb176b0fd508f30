"""What a detector is asked and what it answers. Shapes: B pictures, N names, h and w cells, M objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from pinxit.errors import UsageError
from pinxit.schema import Count, Depth


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
    blocks: tuple[Depth, ...] = (1, 3, 2)  # residual blocks at each resolution
    neck: Count = 96  # channels of the merged map that the heads read
    # Heads that only some judges have; where a tuple is empty there is no such head.
    materials: tuple[str, ...] = ()  # what a thing can be made of; "its own" is always the first answer
    garments: tuple[str, ...] = ()
    links: tuple[str, ...] = ()  # what one thing can do to another; a thing may do it or have it done to it
    views: tuple[str, ...] = ()  # the usual view and light are always the first answers
    lights: tuple[str, ...] = ()
    letters: str = ""  # that the reader of boards knows

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


class PicturePredictions(NamedTuple):
    """What the network predicts for whole pictures."""

    heat: Tensor  # logits [B, N, h, w]
    features: Tensor  # [B, C, h, w], for `Detector.describe`
    paints: Tensor  # [B, P, tones], for `Detector.describe`: shares of tones in every small patch
    keys: Tensor  # [B, P, width], for `Detector.describe`: attention keys, which tell what a patch is part of
    place: Tensor  # logits [B, places]
    view: Tensor  # logits [B, 1 + views], [B, 0] without such a head, like the next
    light: Tensor  # logits [B, 1 + lights]


class ObjectPredictions(NamedTuple):
    """What the network predicts for single objects."""

    offset: Tensor  # [M, 2] from the middle of the cell to the centre (x, y), in cells
    extent: Tensor  # [M, 2] natural logarithm of (width, height) as fractions of the picture side
    colour: Tensor  # logits [M, colours]
    form: Tensor  # logits [M, forms]
    style: Tensor  # logits [M, 1 + styles]
    material: Tensor  # logits [M, 1 + materials], [M, 0] without such a head
    worn: Tensor  # logits [M, garments]
    does: Tensor  # logits [M, links]: that it does this to another
    undergoes: Tensor  # logits [M, links]: that another does this to it
