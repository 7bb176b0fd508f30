"""The axes of a chart: their range, their ticks, and free places for labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Tick = tuple[float, str]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def span(values: Sequence[float], least: float | None = None, room: float = 0.08) -> tuple[float, float]:
    """A range that shows all values with some room around, but starts exactly at `least` if that is the lowest."""
    low, high = min(values), max(values)
    if least is not None:
        low = min(low, least)
    wide = high - low or abs(high) or 1.0
    return low if low == least else low - room * wide, high + room * wide


def round_ticks(low: float, high: float, most: int = 10) -> list[Tick]:
    """At most `most` round numbers in a range, 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= raw * (1 - 1e-9))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(number * step, f"{number * step:.{decimals}f}") for number in numbers]


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float  # pixel of `low`
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share more than an edge."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def around(place: tuple[float, float], width: float, height: float, gap: float) -> list[Box]:
    """Boxes beside a point for its label, the best first: upper right, above, right ..., then the same further away."""
    x, y = place
    boxes = []
    for far in (gap, 2.2 * gap):
        right, left, middle = x + far, x - far - width, x - width / 2
        above, below, level = y - far - height, y + far, y - height / 2
        corners = [(right, above + far / 2), (middle, above), (right, level), (right, below - far / 2)]
        corners += [(middle, below), (left, above + far / 2), (left, level), (left, below - far / 2)]
        boxes += [(a, b, a + width, b + height) for a, b in corners]
    return boxes


def roomiest(choices: Sequence[Box], taken: Iterable[Box], inside: Box) -> Box:
    """The first choice that lies `inside` and overlaps nothing `taken`; the very first if there is none."""
    used = list(taken)

    def fits(box: Box) -> bool:
        contained = box[0] >= inside[0] and box[1] >= inside[1] and box[2] <= inside[2] and box[3] <= inside[3]
        return contained and not any(overlap(box, other) for other in used)

    return next((box for box in choices if fits(box)), choices[0])


def spaced(ticks: Sequence[Tick], scale: Scale, widths: Sequence[float], gap: float) -> list[Tick]:
    """The ticks whose labels do not overlap that of an earlier one."""
    kept: list[Tick] = []
    edge = -math.inf
    for tick, width in zip(ticks, widths, strict=True):
        place = scale(tick[0])
        if place - width / 2 >= edge + gap:
            kept.append(tick)
            edge = place + width / 2
    return kept
