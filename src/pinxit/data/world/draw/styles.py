"""Styles repaint a stage. Each is a function from a stage at its working resolution to an RGB picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pinxit.data.world.draw.noise import field
from pinxit.data.world.draw.palette import PAPER
from pinxit.data.world.draw.stage import Stage
from pinxit.errors import DataError

Grey = NDArray[np.int32]
"""int32 [height, width], 0..255."""


@dataclass(frozen=True, slots=True)
class Style:
    """How to repaint: the function, and how many of its pixels make one of the picture's."""

    paint: Callable[[Stage], Image.Image]
    over: int = 1


def grey_of(picture: Image.Image) -> Grey:
    """The picture's lightness."""
    return np.asarray(picture.convert("L")).astype(np.int32)


def steps(values: Grey) -> Grey:
    """How much each value differs from its right and lower neighbours: the larger of the two."""
    out = np.zeros_like(values)
    out[:, :-1] = np.abs(values[:, 1:] - values[:, :-1])
    np.maximum(out[:-1], np.abs(values[1:] - values[:-1]), out=out[:-1])
    return out


def pencil(stage: Stage) -> Image.Image:
    """Grey lines where things end or change, diagonal hatching where they are dark, on grainy paper."""
    light = grey_of(stage.flat())
    owner = stage.owners()
    outline = steps(owner) > 0
    inner = np.clip(steps(light) - 8, 0, 60) * 3
    lines = np.maximum(np.where(outline, 205, 0), np.where(owner >= 0, inner, inner // 5))
    shade = np.where(owner >= 0, _hatching(255 - light), 0)
    grain = field(stage.seed, "pencil", *light.shape)
    ink = np.maximum(lines, shade) * (190 + grain // 4) // 255
    paper = np.array(PAPER, np.int32)
    tone = np.clip(ink, 0, 215)[..., None]
    return Image.fromarray(np.clip(paper - tone * paper // 255, 0, 255).astype(np.uint8))


def _hatching(dark: Grey) -> Grey:
    """Diagonal strokes that grow denser and stronger with darkness."""
    rows, columns = np.indices(dark.shape, dtype=np.int32)
    stroke = (rows + columns) % 3 == 0
    cross = (rows - columns) % 4 == 0
    tone = np.clip(dark - 40, 0, 255) // 4
    return tone + np.where(stroke, tone, 0) + np.where(cross & (dark > 150), tone // 2, 0)


STYLES: dict[str, Style] = {
    "pencil sketch": Style(pencil, over=2),
}


def style_named(name: str) -> Style:
    """The style. Raises DataError when the world has none of that name."""
    if name not in STYLES:
        raise DataError(f"the world has no style '{name}'; choose from {', '.join(STYLES)}.")
    return STYLES[name]
