"""Styles repaint a stage. Each is a function from a stage at its working resolution to an RGB picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from pinxit.errors import DataError
from pinxit.world.draw.lines import blueprint, neon, pencil
from pinxit.world.draw.paper import folded
from pinxit.world.draw.prints import old_photograph, pixel_art, silhouette, watercolour
from pinxit.world.draw.stage import Stage


@dataclass(frozen=True, slots=True)
class Style:
    """How to repaint: the function, and how many of its pixels make one of the picture's."""

    paint: Callable[[Stage], Image.Image]
    over: int = 1


PLAIN = Style(Stage.flat)
STYLES: dict[str, Style] = {
    "pencil sketch": Style(pencil, over=2),
    "watercolour": Style(watercolour, over=2),
    "pixel art": Style(pixel_art),
    "silhouette": Style(silhouette),
    "blueprint": Style(blueprint, over=2),
    "neon": Style(neon, over=2),
    "old photograph": Style(old_photograph),
    "folded from paper": Style(folded, over=2),
}


def style_named(name: str) -> Style:
    """The style. Raises DataError when the world has none of that name."""
    if name not in STYLES:
        raise DataError(f"the world has no style '{name}'; choose from {', '.join(STYLES)}.")
    return STYLES[name]
