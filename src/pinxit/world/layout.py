"""Layouts, in whole 64ths of the picture's side: nothing is cut off, and nothing touches that should not.

Every function returns rectangles for the parts in order, or None when objects of these aspects (width / height) cannot
be laid out recognisably; the composer then draws again. At 64 pixels the shorter side of an object is at least 12
pixels where its outline allows, and never below 10.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt

from pinxit.world.dice import Dice
from pinxit.world.plan import Size

GRID = 64
MARGIN = 2  # free rim around the picture
FIELD = GRID - 2 * MARGIN
SHORT, SHORTEST = 12, 10  # the shorter side of an object: expected, and the least
GAP = 3  # between objects that do not touch


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle in 64ths of the picture side."""

    x: int
    y: int
    w: int
    h: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The same as fractions of the side."""
        return self.x / GRID, self.y / GRID, (self.x + self.w) / GRID, (self.y + self.h) / GRID


Extent = tuple[int, int]  # width, height


def extent(aspect: float, size: float, most_w: int, most_h: int) -> Extent | None:
    """Width and height with this aspect whose geometric mean is about `size`, within the limits; None if too thin."""
    root = sqrt(aspect)
    size = max(size, SHORT * max(root, 1 / root))
    w, h = size * root, size / root
    shrink = min(1.0, most_w / w, most_h / h)
    width, height = int(w * shrink + 0.5), int(h * shrink + 0.5)
    return (width, height) if min(width, height) >= SHORTEST else None


def alone(dice: Dice, aspect: float, size: Size | None, low: int = 26, high: int = 46) -> list[Rect] | None:
    """One object anywhere in the picture; "small" and "big" lie outside the usual range."""
    low, high = {"small": (12, 17), "big": (48, 56), None: (low, high)}[size]
    sides = extent(aspect, dice.between(low, high), FIELD, FIELD)
    return sides and [_anywhere(dice, sides, FIELD)]


def upper_half(dice: Dice, aspect: float) -> list[Rect] | None:
    """One object in the upper half of the picture, for pairs."""
    size = extent(aspect, dice.between(20, 27), FIELD, GRID // 2 - 2 * MARGIN)
    return size and [_anywhere(dice, size, GRID // 2 - 2 * MARGIN)]


def _anywhere(dice: Dice, size: Extent, field_h: int) -> Rect:
    w, h = size
    return Rect(MARGIN + dice.between(0, FIELD - w), MARGIN + dice.between(0, field_h - h), w, h)


def two_sizes(dice: Dice, sizes: tuple[Size | None, Size | None]) -> tuple[int, int]:
    """How large two objects side by side are; "small" and "big" differ by at least 1.6 to 1."""
    usual = {"small": (12, 15), "big": (26, 30), None: (17, 28)}
    return dice.between(*usual[sizes[0]]), dice.between(*usual[sizes[1]])


def side_by_side(dice: Dice, aspects: tuple[float, float], sizes: tuple[Size | None, Size | None]) -> list[Rect] | None:
    """The first to the left of the second: a gap between them, centres nearly level."""
    expected = two_sizes(dice, sizes)
    most = [(FIELD - 4) // 2 if size is None else (FIELD - 4) * (2 if size == "big" else 1) // 3 for size in sizes]
    extents = [extent(a, s, m, FIELD) for a, s, m in zip(aspects, expected, most, strict=True)]
    one, other = extents
    if one is None or other is None:
        return None
    before, between, _ = _shares(dice, FIELD - one[0] - other[0] - GAP, 3)
    x0 = MARGIN + before
    x1 = x0 + one[0] + GAP + between
    reach = (x1 - x0 + (other[0] - one[0]) // 2) * 0.3  # how far centres may be out of level
    y0 = MARGIN + dice.between(0, FIELD - one[1])
    level = y0 + one[1] / 2 + (2 * dice.unit() - 1) * reach - other[1] / 2
    y1 = min(max(MARGIN, round(level)), GRID - MARGIN - other[1])
    rects = [Rect(x0, y0, *one), Rect(x1, y1, *other)]
    return _level(rects, reach)


def _level(rects: list[Rect], reach: float) -> list[Rect]:
    """Move the first after the second where the picture's edge has pushed that one out of level with it."""
    one, other = rects
    offset = (other.y + other.h / 2) - (one.y + one.h / 2)
    if abs(offset) > reach:
        move = offset - reach if offset > 0 else offset + reach
        one = Rect(one.x, one.y + (int(move) + (1 if move > 0 else -1)), one.w, one.h)
    return [one, other]


def transposed(rects: list[Rect] | None) -> list[Rect] | None:
    """Transposed (mirrored in the diagonal), so that left becomes above."""
    return rects and [Rect(r.y, r.x, r.h, r.w) for r in rects]


def stacked(dice: Dice, aspects: list[float], sizes: list[Size | None], sinks: list[float]) -> list[Rect] | None:
    """The first on top of the second, and so on down: edges touch, centres nearly in line.

    `sinks[k]` is how far below its upper edge thing k is stood on, as a share of its height: the middle of a cube's
    top face.
    """
    extents = _stack_extents(dice, aspects, sizes)
    if extents is None:
        return None
    widest = max(w for w, _ in extents)
    depths = [round(h * sink) for (_, h), sink in zip(extents, sinks, strict=True)]
    total = sum(h for _, h in extents) - sum(depths[1:])
    middle = MARGIN + widest / 2 + dice.between(0, FIELD - widest)
    y = MARGIN + dice.between(0, FIELD - total)
    rects = []
    for (w, h), depth in zip(extents, [*depths[1:], 0], strict=True):
        x = min(max(MARGIN, int(middle - w / 2 + dice.between(-1, 1))), GRID - MARGIN - w)
        rects.append(Rect(x, y, w, h))
        y += h - depth
    return rects


def _stack_extents(dice: Dice, aspects: list[float], sizes: list[Size | None]) -> list[Extent] | None:
    usual = {"small": (12, 17), "big": (27, 36), None: (16, 26) if len(aspects) == 2 else (13, 18)}
    extents = [extent(a, dice.between(*usual[s]), FIELD, 40) for a, s in zip(aspects, sizes, strict=True)]
    fitting = [e for e in extents if e is not None]
    if len(fitting) < len(extents) or sum(h for _, h in fitting) > FIELD:
        return None
    if sizes[0] is None:  # nothing much broader stands on something narrow
        for upper, lower in pairwise(fitting):
            if upper[0] > 1.4 * lower[0]:
                return None
    return fitting


ROWS: dict[int, tuple[tuple[int, ...], ...]] = {
    2: ((2,), (1, 1)),
    3: ((3,), (1, 2), (2, 1), (1, 1, 1)),
    4: ((2, 2), (2, 2), (2, 2), (4,), (1, 3), (3, 1)),
    5: ((2, 3), (3, 2), (1, 2, 2), (2, 2, 1)),
    6: ((3, 3), (2, 2, 2), (3, 3), (1, 2, 3)),
}
COUNTED = {2: (16, 28), 3: (13, 24), 4: (12, 21), 5: (11, 17), 6: (11, 16)}


def counted(dice: Dice, aspect: float, count: int) -> list[Rect] | None:
    """Several of the same, nearly equal in size, in rows with jitter; they never touch."""
    root = sqrt(aspect)
    for rows in dice.shuffled(ROWS[count]):
        cell_w, cell_h = FIELD // max(rows), FIELD // len(rows)
        low, high = COUNTED[count]
        largest = min((cell_w - GAP) / root, (cell_h - GAP) * root, high)
        thin = min(root, 1 / root)
        if largest * thin >= SHORT or (largest * thin >= SHORTEST and len(rows) > 1 and count > 3):
            size = max(low, SHORT / thin) + dice.unit() * max(0.0, largest - max(low, SHORT / thin))
            return _in_rows(dice, rows, aspect, min(size, largest))
    return None


def _in_rows(dice: Dice, rows: tuple[int, ...], aspect: float, size: float) -> list[Rect] | None:
    rects = []
    cell_h = FIELD // len(rows)
    for row, members in enumerate(rows):
        cell_w = FIELD // members
        for column in range(members):
            sides = extent(aspect, size * (0.94 + 0.1 * dice.unit()), cell_w - GAP, cell_h - GAP)
            if sides is None:
                return None
            w, h = sides
            x = MARGIN + column * cell_w + 1 + dice.between(0, min(cell_w - GAP - w, 8 + cell_w // 4))
            y = MARGIN + row * cell_h + 1 + dice.between(0, cell_h - GAP - h)
            rects.append(Rect(x, y, w, h))
    return rects


def lowered(dice: Dice, rects: list[Rect]) -> list[Rect]:
    """All of them moved down together until the lowest stands on the ground of a place with a horizon."""
    lowest = max(r.y + r.h for r in rects)
    down = max(0, dice.between(47, GRID - MARGIN) - lowest)
    return [replace(r, y=r.y + down) for r in rects] if down else rects


def _shares(dice: Dice, slack: int, count: int) -> list[int]:
    """`slack` cut at random into `count` whole parts."""
    cuts = sorted(dice.between(0, slack) for _ in range(count - 1))
    ends = [0, *cuts, slack]
    return [b - a for a, b in pairwise(ends)]
