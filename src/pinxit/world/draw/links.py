"""Links between two related items: a leash, a straw, a pouring jug. They belong to neither item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pinxit.world.draw.palette import RGB
from pinxit.world.draw.pen import Layer, Pen, frame_of
from pinxit.world.scene import Box, Item, Scene

_LEASH: RGB = (200, 24, 40)
_STRAW: RGB = (228, 36, 96)
_JUG, _JUG_DARK, _JUG_LIGHT = (148, 158, 176), (70, 76, 92), (206, 214, 226)
_POURED: dict[str, RGB] = {"cup of tea": (150, 168, 52), "glass of milk": (206, 218, 236)}
_COFFEE: RGB = (92, 52, 24)
_HAT = 0.14  # a hat's share of the height of what wears it

# Where a mouth is, as a share of the height of what has it; that of plants is between leaves and middle.
_MOUTHS: dict[str, float] = {
    **{"person": 0.17, "giraffe": 0.17, "flamingo": 0.22, "penguin": 0.24, "astronaut": 0.3, "teddy bear": 0.33},
    **{"horse": 0.33, "pig": 0.5, "fox": 0.52, "rabbit": 0.55, "elephant": 0.55, "robot": 0.7},
}
_MOUTH = 0.4
_PULLED = {
    "giraffe": 0.3,
    "flamingo": 0.3,
    "snail": 0.6,
    "turtle": 0.5,
    "crab": 0.6,
}  # where a leash ends on what is led
_NECK = 0.45
_HAND = 0.55


@dataclass(frozen=True, slots=True)
class Actor:
    """An item of a relation and the layer that shows it in a picture of `size` pixels."""

    item: Item
    layer: Layer
    size: int

    @property
    def middle(self) -> float:
        """The middle of its box, across."""
        return (self.item.box[0] + self.item.box[2]) / 2

    def height_at(self, share: float) -> float:
        """The height at a share of its body from the top, below a hat."""
        _, top, _, foot = self.item.box
        hat = _HAT * (foot - top) if any(garment == "hat" for _, garment in self.item.outfit) else 0.0
        return top + hat + share * (foot - top - hat)

    def edge(self, y: float, right: bool) -> float:
        """Where its picture ends on one side at height y."""
        solid = np.asarray(self.layer.image.getchannel("A")) >= 128
        row = min(max(int(y * self.size) - self.layer.y, 0), len(solid) - 1)
        columns = np.flatnonzero(solid[max(row - 1, 0) : row + 2].any(0))
        if not len(columns):
            return self.item.box[2 if right else 0]
        return float(self.layer.x + (columns[-1] + 1 if right else columns[0])) / self.size


@dataclass(frozen=True, slots=True)
class LinkRaster:
    """A raster over `box` of the picture on which a link is drawn in the picture's own coordinates."""

    pen: Pen
    box: Box

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Unit coordinates of the pen for a point of the picture."""
        x0, y0, x1, y1 = self.box
        return (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)

    def line(self, points: Sequence[tuple[float, float]], width: float, ink: RGB) -> None:
        """A line `width` 64ths of the picture thick."""
        self.pen.line([self.at(*point) for point in points], width, ink)

    def polygon(self, points: Sequence[tuple[float, float]], ink: RGB) -> None:
        """A filled polygon."""
        self.pen.polygon([self.at(*point) for point in points], ink)


def _leash(sheet: LinkRaster, leader: Actor, led: Actor) -> None:
    """From the hand of the one to the neck of the other, hanging a little."""
    right = led.middle > leader.middle
    hand, neck = leader.height_at(_HAND), led.height_at(_PULLED.get(led.item.name, _NECK))
    x0, x1 = leader.edge(hand, right), led.edge(neck, not right)
    inward = 2 / 64 if right else -2 / 64
    start, end = (x0 - inward, hand), (x1 + inward, neck)
    sheet.line(_hanging(start, end, 0.05), 1.3, _LEASH)
    sheet.line(((end[0], end[1] - 2 / 64), (end[0], end[1] + 2 / 64)), 1.8, _LEASH)


def _hanging(start: tuple[float, float], end: tuple[float, float], sag: float) -> list[tuple[float, float]]:
    steps = 8
    shares = [k / steps for k in range(steps + 1)]
    return [
        (start[0] + (end[0] - start[0]) * s, start[1] + (end[1] - start[1]) * s + 4 * sag * s * (1 - s)) for s in shares
    ]


def _straw(sheet: LinkRaster, drinker: Actor, drink: Actor) -> None:
    """From the drink to the mouth."""
    right = drink.middle > drinker.middle
    mouth = drinker.height_at(_MOUTHS.get(drinker.item.name, _MOUTH))
    edge = drinker.edge(mouth, right)
    top, foot = drink.item.box[1], drink.item.box[3]
    end = (edge + 0.3 * (drinker.middle - edge), mouth)
    sheet.line(((drink.middle, top + 0.3 * (foot - top)), end), 1.7, _STRAW)


_TILTED = ((-0.72, -0.62), (-0.1, -0.86), (0.3, -0.02), (0.02, 0.1), (-0.42, 0.24))  # a jug; its spout near (0.2, 0)


def _jug(sheet: LinkRaster, maker: Actor, drink: Actor) -> None:
    """A small jug at the maker's hand that pours into the drink."""
    x0, top, x1, foot = drink.item.box
    outward = 1 if drink.middle > maker.middle else -1
    reach = max(0.64 * (x1 - x0), 10 / 64)
    spout = (drink.middle, top - 0.32 * reach)
    jug = [(spout[0] + outward * (x - 0.2) * reach, spout[1] + y * reach) for x, y in _TILTED]
    ink = _POURED.get(drink.item.name, _COFFEE)
    sheet.line((spout, (drink.middle, top + 0.3 * (foot - top))), 1.7, ink)
    handle = [(spout[0] + outward * (x - 0.2) * reach, spout[1] + y * reach) for x, y in _HANDLE]
    sheet.line(handle, 1.3, _JUG_DARK)
    sheet.polygon(jug, _JUG)
    sheet.line([*jug, jug[0]], 0.9, _JUG_DARK)
    sheet.line((jug[0], jug[1]), 1.2, _JUG_LIGHT)


_HANDLE = ((-0.66, -0.4), (-0.98, -0.28), (-0.84, 0.1), (-0.5, 0.06))

LINKS: dict[str, Callable[[LinkRaster, Actor, Actor], None]] = {"walking": _leash, "drinking": _straw, "making": _jug}


def links(scene: Scene, size: int, layers: dict[int, Layer]) -> list[Layer]:
    """A layer for each relation of the scene that has a visible link; `layers` are the items' layers."""
    drawn = []
    for relation in scene.relations:
        if relation.name in LINKS:
            one, other = (Actor(scene.items[k], layers[k], size) for k in (relation.subject, relation.object))
            frame = frame_of(_around(one.item.box, other.item.box), size)
            pen = frame.pen()
            edges = (frame.x, frame.y, frame.x + frame.width, frame.y + frame.height)
            whole = Pen(pen.image, (0, 0, *pen.image.size), frame.point)
            x0, y0, x1, y1 = (edge / size for edge in edges)
            LINKS[relation.name](LinkRaster(whole, (x0, y0, x1, y1)), one, other)
            drawn.append(frame.layer(pen))
    return drawn


def _around(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
