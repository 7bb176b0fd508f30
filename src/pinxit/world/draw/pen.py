"""A pen draws in unit coordinates on a supersampled raster, so that everything is antialiased by one reduction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from pinxit.world.draw.palette import RGB
from pinxit.world.scene import Box

Points = Sequence[tuple[float, float]]
Region = tuple[int, int, int, int]  # x0, y0, x1, y1 in raster samples, x1 and y1 exclusive


def oversampling(size: int) -> int:
    """Samples per pixel side for a picture of `size` pixels: 4 up to 96, never under 2."""
    return max(2, min(4, 384 // max(size, 1)))


@dataclass(frozen=True, slots=True)
class Layer:
    """One drawn item: an RGBA image and the pixel where its upper left corner goes."""

    image: Image.Image
    x: int
    y: int


class Pen:
    """Draws into `region` of a raster. (0, 0) is the region's upper left corner and (1, 1) its lower right one.

    `point` is the number of samples in 1/64 of the picture's side: line widths are given in these points, so a
    picture looks alike at every size.
    """

    def __init__(self, image: Image.Image, region: Region, point: float) -> None:
        self.image, self.region, self.point = image, region, point
        self._draw = ImageDraw.Draw(image)
        x0, y0, x1, y1 = region
        self._x0, self._y0 = x0, y0
        self._w, self._h = max(x1 - x0 - 1, 0), max(y1 - y0 - 1, 0)

    def at(self, x: float, y: float) -> tuple[int, int]:
        """The sample at unit coordinates (x, y)."""
        return (self._x0 + math.floor(x * self._w + 0.5), self._y0 + math.floor(y * self._h + 0.5))

    def within(self, x0: float, y0: float, x1: float, y1: float) -> Pen:
        """A pen for the part (x0, y0)-(x1, y1) of this one's region, on the same raster."""
        left, top = self.at(x0, y0)
        right, bottom = self.at(x1, y1)
        return Pen(self.image, (left, top, right + 1, bottom + 1), self.point)

    @property
    def aspect(self) -> float:
        """Width over height of the region."""
        return (self._w + 1) / (self._h + 1)

    def width(self, points: float) -> int:
        """A line width in samples, at least one."""
        return max(1, math.floor(points * self.point + 0.5))

    def polygon(self, points: Points, fill: RGB | None) -> None:
        """Fill a polygon; `fill` None cuts a hole."""
        self._draw.polygon([self.at(x, y) for x, y in points], fill=_ink(fill))

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill: RGB | None) -> None:
        """Fill an upright rectangle."""
        self._draw.rectangle([self.at(x0, y0), self.at(x1, y1)], fill=_ink(fill))

    def cell(self, x0: float, y0: float, x1: float, y1: float, fill: RGB) -> None:
        """Fill an upright rectangle up to but not including its right and lower edges, so that neighbours only meet."""
        (left, top), (right, bottom) = self.at(x0, y0), self.at(x1, y1)
        self._draw.rectangle([left, top, max(left, right - 1), max(top, bottom - 1)], fill=_ink(fill))

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, fill: RGB | None) -> None:
        """Fill the ellipse inside a rectangle."""
        self._draw.ellipse([self.at(x0, y0), self.at(x1, y1)], fill=_ink(fill))

    def line(self, points: Points, width: float, fill: RGB) -> None:
        """Draw a polyline `width` points (1/64 of the picture) thick."""
        joints = [self.at(x, y) for x, y in points]
        self._draw.line(joints, fill=_ink(fill), width=self.width(width), joint="curve")

    def stamp(self, mask: Image.Image, fill: RGB) -> None:
        """Fill the region through an L mask stretched over it."""
        size = (self._w + 1, self._h + 1)
        stretched = mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)
        self.image.paste(_ink(fill), (self._x0, self._y0), stretched)

    def picture(self, picture: Image.Image) -> None:
        """Lay an RGBA picture over the region, stretched to it."""
        stretched = picture.resize((self._w + 1, self._h + 1), Image.Resampling.BICUBIC)
        self.image.alpha_composite(stretched, (self._x0, self._y0))


def on_circle(turn: float, radius: float) -> tuple[float, float]:
    """The point of a circle in the middle of the unit square after `turn` turns clockwise from the top.

    Rounded, so that it is the same with every platform's sine.
    """
    angle = 2 * math.pi * turn
    return round(0.5 + radius * math.sin(angle), 6), round(0.5 - radius * math.cos(angle), 6)


def _ink(fill: RGB | None) -> tuple[int, int, int, int]:
    return (0, 0, 0, 0) if fill is None else (*fill, 255)


@dataclass(frozen=True, slots=True)
class Frame:
    """An item's own small raster: whole pixels around the item's box, `over` samples to a pixel."""

    x: int
    y: int
    width: int
    height: int
    region: Region
    over: int
    point: float

    def pen(self) -> Pen:
        """A pen on a new transparent raster."""
        raster = Image.new("RGBA", (self.width * self.over, self.height * self.over))
        return Pen(raster, self.region, self.point)

    def layer(self, pen: Pen) -> Layer:
        """What the pen drew, reduced to pixels."""
        return Layer(pen.image.reduce(self.over), self.x, self.y)


def frame_of(box: Box, size: int) -> Frame:
    """The raster for `box` (fractions of the side) in a picture of `size` pixels."""
    over = oversampling(size)
    x0, y0, x1, y1 = (math.floor(edge * size * over + 0.5) for edge in box)
    x1, y1 = max(x1, x0 + over), max(y1, y0 + over)
    left, top = x0 // over, y0 // over
    right, bottom = -(-x1 // over), -(-y1 // over)
    region = (x0 - left * over, y0 - top * over, x1 - left * over, y1 - top * over)
    return Frame(left, top, right - left, bottom - top, region, over, size * over / 64)
