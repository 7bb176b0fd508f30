"""Grounds: plain colours and quiet, low-contrast places. A place never has a detail that could be taken for a thing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from PIL import Image

from pinxit.errors import DataError
from pinxit.world.draw.noise import uniforms
from pinxit.world.draw.palette import GROUNDS, RGB, mix
from pinxit.world.draw.pen import Pen, oversampling
from pinxit.world.draw.scenery import cloud, fir, peaks, ridge, sky


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


def _mountains(pen: Pen, seed: int) -> None:
    draws = iter(uniforms(seed, "mountains", 60))
    sky(pen, (184, 212, 240), (226, 236, 246), 0.62)
    cloud(pen, next(draws), 0.12 + 0.08 * next(draws), 0.2 + 0.1 * next(draws), (244, 248, 252))
    far = [(k / 3 + 0.2 * next(draws), 0.3 + 0.1 * next(draws)) for k in range(4)]
    peaks(pen, far, 0.64, (190, 204, 224), (240, 245, 250))
    near = [(-0.1 + 0.6 * k + 0.3 * next(draws), 0.36 + 0.1 * next(draws)) for k in range(3)]
    peaks(pen, near, 0.68, (166, 182, 208), (236, 242, 249))
    ridge(pen, [0.6 + 0.06 * next(draws) for _ in range(6)], 1, (184, 206, 176))
    ridge(pen, [0.72 + 0.05 * next(draws) for _ in range(4)], 1, (172, 198, 158))


def _desert(pen: Pen, seed: int) -> None:
    draws = iter(uniforms(seed, "desert", 60))
    horizon = 0.46 + 0.1 * next(draws)
    sky(pen, (176, 214, 240), (248, 236, 214), horizon)
    ridge(pen, [horizon - 0.09 * next(draws) for _ in range(4)], 1, (240, 214, 168))
    ridge(pen, [horizon + 0.05 + 0.1 * next(draws) for _ in range(4)], 1, (234, 202, 150))
    ridge(pen, [0.78 + 0.1 * next(draws) for _ in range(3)], 1, (239, 210, 160))
    for _ in range(9):
        x, y = next(draws), horizon + 0.16 + (0.84 - horizon) * next(draws)
        pen.line(((x - 0.06, y), (x, y - 0.008), (x + 0.06, y)), 0.6, (226, 192, 140))


def _room(pen: Pen, seed: int) -> None:
    draws = iter(uniforms(seed, "room", 20))
    wall = ((232, 224, 212), (218, 226, 232), (232, 222, 226), (222, 230, 216))[int(4 * next(draws))]
    floor = 0.64 + 0.08 * next(draws)
    pen.rectangle(0, 0, 1, 1, wall)
    x, dark = (0.06 if next(draws) < 0.5 else 0.64), mix(wall, (110, 110, 120), 0.2)
    pen.rectangle(x, 0.1, x + 0.3, 0.44, (250, 250, 250))
    pen.rectangle(x + 0.02, 0.12, x + 0.28, 0.42, (212, 232, 246))
    pen.rectangle(x + 0.14, 0.12, x + 0.16, 0.42, (250, 250, 250))
    pen.rectangle(x + 0.02, 0.26, x + 0.28, 0.28, (250, 250, 250))
    pen.rectangle(0, floor, 1, 1, (206, 178, 146))
    for k in range(1, 4):
        y = floor + (1 - floor) * (k / 4) ** 1.3
        pen.line(((0, y), (1, y)), 0.5, (194, 165, 132))
    pen.rectangle(0, floor - 0.03, 1, floor, dark)


def _snowy_forest(pen: Pen, seed: int) -> None:
    draws = iter(uniforms(seed, "forest", 120))
    sky(pen, (188, 206, 226), (222, 231, 241), 0.6)
    for row, (foot, count, tone) in enumerate(((0.6, 9, (186, 204, 216)), (0.7, 7, (164, 190, 198)))):
        for k in range(count):
            x, height = (k + next(draws)) / count, (0.34 + 0.16 * next(draws)) * (1 + 0.2 * row)
            fir(pen, x, foot, height, tone)
            fir(pen, x, foot - 0.62 * height, 0.38 * height, (238, 243, 248))
        ridge(pen, [foot - 0.02 + 0.04 * next(draws) for _ in range(5)], 1, (232, 239, 247))
    ridge(pen, [0.84 + 0.06 * next(draws) for _ in range(4)], 1, (241, 245, 250))


PLACES: dict[str, Callable[[Pen, int], None]] = {
    "meadow": _meadow,
    "beach": _beach,
    "snow": _snow,
    "night sky": _night_sky,
    "mountains": _mountains,
    "desert": _desert,
    "room": _room,
    "snowy forest": _snowy_forest,
}
TONES: dict[str, tuple[RGB, ...]] = {
    "meadow": ((207, 230, 248), (168, 208, 139)),
    "beach": ((207, 232, 248), (138, 198, 216), (243, 226, 184)),
    "snow": ((195, 213, 233), (236, 241, 248)),
    "night sky": ((34, 40, 85),),
    "mountains": ((205, 224, 243), (178, 193, 216), (178, 202, 167)),
    "desert": ((210, 224, 228), (237, 207, 156)),
    "room": ((226, 226, 222), (206, 178, 146)),
    "snowy forest": ((205, 218, 233), (175, 197, 207), (237, 242, 248)),
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
