"""Flat shapes as outlines that fill the unit square edge to edge."""

from __future__ import annotations

import math
from functools import cache

from pinxit.world.draw.palette import RGB
from pinxit.world.draw.pen import Pen

Outline = tuple[tuple[float, float], ...]

_CURVE = 72  # corners of a curved outline
RING_HOLE = 0.56  # the hole's share of a ring's diameter


def _fitted(points: list[tuple[float, float]]) -> Outline:
    """Stretched to the unit square, on a grid so fine and yet so coarse that every machine finds the same numbers."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    left, top = min(xs), min(ys)
    width, height = max(xs) - left, max(ys) - top
    return tuple((round((x - left) / width, 6), round((y - top) / height, 6)) for x, y in points)


def _regular(corners: int, turn: float = 0.0, inner: float | None = None) -> list[tuple[float, float]]:
    """A regular polygon with a corner on top (turned by `turn` of a circle); with `inner`, a star of that waist."""
    count = corners if inner is None else 2 * corners
    points = []
    for k in range(count):
        angle = 2 * math.pi * (k / count + turn)
        radius = inner if inner is not None and k % 2 else 1.0
        points.append((radius * math.sin(angle), -radius * math.cos(angle)))
    return points


def _heart() -> list[tuple[float, float]]:
    points = []
    for k in range(_CURVE):
        t = 2 * math.pi * k / _CURVE
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((16 * math.copysign(abs(math.sin(t)) ** 2.1, math.sin(t)), -y))  # 3 would end in a needle
    return points


CIRCLE = _fitted(_regular(_CURVE))
OUTLINES: dict[str, Outline] = {
    "circle": CIRCLE,
    "square": ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "triangle": ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "star": _fitted(_regular(5, inner=0.45)),
    "heart": _fitted(_heart()),
    "pentagon": _fitted(_regular(5)),
    "hexagon": _fitted(_regular(6, turn=1 / 12)),
    "ring": CIRCLE,
}
SHAPE_ASPECTS: dict[str, float] = {"triangle": 1.15, "star": 1.05, "heart": 1.08, "pentagon": 1.05, "hexagon": 1.15}


@cache
def ring_hole() -> Outline:
    """The outline of a ring's hole."""
    low = (1 - RING_HOLE) / 2
    return tuple((low + RING_HOLE * x, low + RING_HOLE * y) for x, y in CIRCLE)


def draw_shape(pen: Pen, name: str, fill: RGB) -> None:
    """Draw the flat shape `name` over the whole region of `pen`."""
    pen.polygon(OUTLINES[name], fill)
    if name == "ring":
        pen.polygon(ring_hole(), None)
