"""Parts of places: skies, clouds, ridges, trees."""

from __future__ import annotations

from pinxit.world.draw.palette import RGB, mix
from pinxit.world.draw.pen import Pen

_BANDS = 24


def sky(pen: Pen, top: RGB, bottom: RGB, horizon: float) -> None:
    """A vertical gradient from the upper edge down to `horizon`, its last tone below."""
    pen.rectangle(0, 0, 1, 1, bottom)
    for k in range(_BANDS):
        pen.rectangle(0, horizon * k / _BANDS, 1, horizon * (k + 1) / _BANDS, mix(top, bottom, k / (_BANDS - 1)))


def cloud(pen: Pen, x: float, y: float, size: float, fill: RGB) -> None:
    """A flat cloud, `size` wide, its foot at (x, y)."""
    for dx, reach in ((-0.28, 0.2), (0.02, 0.3), (0.3, 0.2)):
        pen.ellipse(x + (dx - reach) * size, y - 1.25 * reach * size, x + (dx + reach) * size, y, fill)


def ridge(pen: Pen, heights: list[float], bottom: float, fill: RGB) -> None:
    """A rolling outline through `heights` at equal steps, filled down to `bottom`."""
    fine = 6
    points: list[tuple[float, float]] = []
    steps = len(heights) - 1
    for k in range(steps * fine + 1):
        cell, share = divmod(k, fine)
        smooth = (share / fine) ** 2 * (3 - 2 * share / fine)
        after = heights[min(cell + 1, steps)]
        points.append((k / (steps * fine), heights[cell] + (after - heights[cell]) * smooth))
    pen.polygon((*points, (1, bottom), (0, bottom)), fill)


def peaks(pen: Pen, summits: list[tuple[float, float]], foot: float, fill: RGB, snow: RGB | None = None) -> None:
    """Pointed mountains with their summits at (x, y), as broad as high twice over; `snow` caps them."""
    for x, y in summits:
        half = (foot - y) * 0.95
        pen.polygon(((x, y), (x + half, foot), (x - half, foot)), fill)
        pen.polygon(((x, y), (x + half, foot), (x + 0.25 * half, foot)), mix(fill, (40, 50, 80), 0.1))
        if snow:
            cap = 0.3 * (foot - y)
            pen.polygon(((x, y), (x + 0.29 * half, y + cap), (x, y + 0.7 * cap), (x - 0.29 * half, y + cap)), snow)


def fir(pen: Pen, x: float, foot: float, height: float, fill: RGB) -> None:
    """A fir tree of three tiers standing at (x, foot)."""
    for tier in range(3):
        top, low = foot - height * (1 - 0.27 * tier), foot - height * (0.5 - 0.22 * tier)
        half = height * (0.14 + 0.06 * tier)
        pen.polygon(((x, top), (x + half, low), (x - half, low)), fill)
