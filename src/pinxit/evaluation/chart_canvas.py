"""An antialiased drawing surface: everything is drawn three times as large, and scaled down at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageDraw

from pinxit.data.fonts import width, write

if TYPE_CHECKING:
    from pinxit.types import Picture

Colour = tuple[int, int, int]
Point = tuple[float, float]
Align = Literal["left", "middle", "right"]
TIMES = 3
PAPER: Colour = (255, 255, 255)
SHIFT = {"left": 0.0, "middle": 0.5, "right": 1.0}
# Corners of markers around their centre, in radii; a circle has none.
SHAPES: dict[str, tuple[Point, ...]] = {
    "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "triangle": ((0, -1.1), (1.05, 0.8), (-1.05, 0.8)),
    "diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
}
MARKERS = ("circle", *SHAPES)


def text_width(text: str, size: int) -> float:
    """The width in pixels of a line of text."""
    return width(text, size * TIMES) / TIMES


class Canvas:
    """A canvas whose positions and sizes are in pixels of the finished picture."""

    def __init__(self, wide: int, high: int) -> None:
        self.image = Image.new("RGB", (wide * TIMES, high * TIMES), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def line(self, points: Sequence[Point], colour: Colour, thick: float = 1.0) -> None:
        """A line through all points, with round joints and ends."""
        big = [(x * TIMES, y * TIMES) for x, y in points]
        self.draw.line(big, colour, round(thick * TIMES), joint="curve")

    def dashes(self, start: Point, end: Point, colour: Colour, dash: float = 6.0) -> None:
        """A straight line of dashes."""
        length = math.dist(start, end)
        for step in range(math.ceil(length / (2 * dash))):
            a, b = (min(1.0, (2 * step + more) * dash / length) for more in (0, 1))
            ends = [(start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])) for t in (a, b)]
            self.line(ends, colour, 1.2)

    def marker(self, place: Point, shape: str, colour: Colour, radius: float = 4.5) -> None:
        """A filled marker with a thin white edge, which sets it off from its line."""
        for size, fill in ((radius + 1.4, PAPER), (radius, colour)):
            x, y = place[0] * TIMES, place[1] * TIMES
            reach = size * TIMES
            if shape in SHAPES:
                self.draw.polygon([(x + a * reach, y + b * reach) for a, b in SHAPES[shape]], fill)
            else:
                self.draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill)

    def text(
        self, place: Point, text: str, size: int, ink: Colour, align: Align = "left", halo: Colour | None = None
    ) -> None:
        """A line of text with the chosen end of its baseline at `place`; a `halo` keeps it readable over lines."""
        left, base = place[0] - SHIFT[align] * text_width(text, size), place[1]
        if halo is not None:
            for turn in range(12):
                x, y = 2 * math.cos(turn * math.pi / 6), 2 * math.sin(turn * math.pi / 6)
                write(self.draw, ((left + x) * TIMES, (base + y) * TIMES), text, size * TIMES, halo)
        write(self.draw, (left * TIMES, base * TIMES), text, size * TIMES, ink)

    def upright(self, place: Point, text: str, size: int, ink: Colour) -> None:
        """Text that reads upwards, its middle at `place`."""
        wide, high = math.ceil(text_width(text, size)) + 4, 2 * size
        strip = Canvas(wide, high)
        strip.text((wide / 2, high * 0.7), text, size, ink, "middle")
        turned = strip.image.rotate(90, expand=True)
        self.image.paste(turned, (round((place[0] - high / 2) * TIMES), round((place[1] - wide / 2) * TIMES)))

    def picture(self) -> Picture:
        """The finished picture, uint8 [high, wide, 3]."""
        size = (self.image.width // TIMES, self.image.height // TIMES)
        return np.array(self.image.resize(size, Image.Resampling.BOX))
