"""Grounds: plain colours and quiet, low-contrast places. A place never has a detail that could be taken for a thing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from PIL import Image

from pinxit.data.world.draw.noise import uniforms
from pinxit.data.world.draw.palette import GROUNDS, RGB, mix
from pinxit.data.world.draw.pen import Pen, oversampling
from pinxit.errors import DataError

_BANDS = 24


def sky(pen: Pen, top: RGB, bottom: RGB, horizon: float) -> None:
    """A vertical gradient from the upper edge down to `horizon`."""
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


def _meadow(pen: Pen, seed: int) -> None:
    draws = iter(uniforms(seed, "meadow", 160))
    horizon = 0.42 + 0.16 * next(draws)
    sky(pen, (188, 220, 246), (226, 240, 250), horizon)
    for _ in range(2):
        cloud(pen, next(draws), (0.1 + 0.5 * next(draws)) * horizon, 0.2 + 0.14 * next(draws), (244, 249, 253))
    ridge(pen, [horizon - 0.07 * next(draws) for _ in range(5)], 1, (176, 212, 148))
    ridge(pen, [horizon + 0.03 + 0.06 * next(draws) for _ in range(4)], 1, (160, 204, 130))
    for _ in range(36):
        x, y = next(draws), horizon + 0.12 + (0.88 - horizon) * next(draws)
        pen.line(((x, y), (x + 0.012, y - 0.03)), 0.5, (142, 190, 112))


def _beach(pen: Pen, seed: int) -> None:
    draws = iter(uniforms(seed, "beach", 80))
    horizon = 0.34 + 0.12 * next(draws)
    sky(pen, (186, 222, 246), (228, 243, 250), horizon)
    cloud(pen, next(draws), 0.7 * horizon, 0.22 + 0.12 * next(draws), (246, 250, 253))
    shore = horizon + 0.14 + 0.06 * next(draws)
    pen.rectangle(0, horizon, 1, 1, (128, 190, 212))
    pen.rectangle(0, horizon + 0.05, 1, 1, (146, 204, 220))
    line = [shore + 0.05 * next(draws) for _ in range(5)]
    ridge(pen, [y - 0.025 for y in line], 1, (236, 246, 248))
    ridge(pen, line, 1, (243, 226, 184))
    for _ in range(24):
        x, y = next(draws), shore + 0.1 + (0.9 - shore) * next(draws)
        pen.ellipse(x, y, x + 0.012, y + 0.008, (230, 208, 160))


def _snow(pen: Pen, seed: int) -> None:
    draws = iter(uniforms(seed, "snow", 40))
    horizon = 0.4 + 0.16 * next(draws)
    sky(pen, (176, 200, 226), (214, 226, 240), horizon + 0.06)
    ridge(pen, [horizon - 0.08 * next(draws) for _ in range(5)], 1, (226, 234, 244))
    ridge(pen, [horizon + 0.08 + 0.08 * next(draws) for _ in range(4)], 1, (240, 244, 250))
    ridge(pen, [0.84 + 0.1 * next(draws) for _ in range(4)], 1, (232, 238, 247))


def _night_sky(pen: Pen, seed: int) -> None:
    draws = iter(uniforms(seed, "night", 160))
    sky(pen, (20, 26, 62), (48, 56, 108), 1)
    for _ in range(34):
        x, y, bright = next(draws), next(draws), next(draws)
        size = 0.004 + 0.01 * bright
        pen.ellipse(x - size, y - size, x + size, y + size, mix((60, 70, 120), (226, 228, 240), bright))


PLACES: dict[str, Callable[[Pen, int], None]] = {
    "meadow": _meadow,
    "beach": _beach,
    "snow": _snow,
    "night sky": _night_sky,
}
TONES: dict[str, tuple[RGB, ...]] = {
    "meadow": ((207, 230, 248), (168, 208, 139)),
    "beach": ((207, 232, 248), (138, 198, 216), (243, 226, 184)),
    "snow": ((195, 213, 233), (236, 241, 248)),
    "night sky": ((34, 40, 85),),
}
"""The large tones of each place: what a thing must stand out from."""


def ground_tones(place: str) -> tuple[RGB, ...]:
    """The large tones of a ground. Raises DataError for a place that is not in the world."""
    if place in GROUNDS:
        return (GROUNDS[place],)
    if place not in PLACES:
        raise DataError(f"the world has no place '{place}'; choose from {', '.join((*GROUNDS, *PLACES))}.")
    return TONES[place]


def ground(place: str, seed: int, width: int, height: int) -> Image.Image:
    """The empty place as an RGB picture."""
    if place in GROUNDS:
        return _plain(GROUNDS[place], width, height).copy()
    ground_tones(place)
    over = oversampling(width)
    raster = Image.new("RGBA", (width * over, height * over))
    PLACES[place](Pen(raster, (0, 0, width * over, height * over), width * over / 64), seed)
    return raster.convert("RGB").reduce(over)


@lru_cache(maxsize=16)
def _plain(rgb: RGB, width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), rgb)
