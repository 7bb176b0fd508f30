"""Layouts that the small preset does not have: views, and things inside, behind or riding one another."""

from __future__ import annotations

from math import sqrt

from pinxit.world.dice import Dice
from pinxit.world.layout import FIELD, GRID, MARGIN, SHORTEST, Extent, Rect, extent

UPRIGHT = 0.95  # width / height below which a mount is taken to stand on two legs
SEEN = (0.45, 0.8)  # least and most visible share of an object that is behind another


def viewed(dice: Dice, aspect: float, view: str) -> list[Rect] | None:
    """One object as a view shows it: a close-up reaches beyond the frame, a fisheye keeps it near the middle."""
    if view == "close-up":
        root = sqrt(aspect)
        size = dice.between(60, 72)
        w, h = round(size * root), round(size / root)
        x = (GRID - w) // 2 + dice.between(-6, 6)
        return [Rect(x, (GRID - h) // 2 + dice.between(-6, 6), w, h)]
    if view == "fisheye":
        sides = extent(aspect, dice.between(22, 30), 36, 36)
        return sides and [_near_middle(dice, sides)]
    low, high = {"from afar": (12, 15), "cross-section": (34, 52)}.get(view, (26, 44))
    sides = extent(aspect, dice.between(low, high), FIELD, FIELD)
    if sides is None:
        return None
    w, h = sides
    return [Rect(MARGIN + dice.between(0, FIELD - w), MARGIN + dice.between(0, FIELD - h), w, h)]


def _near_middle(dice: Dice, size: Extent) -> Rect:
    w, h = size
    return Rect((GRID - w) // 2 + dice.between(-3, 3), (GRID - h) // 2 + dice.between(-3, 3), w, h)


def inside(dice: Dice, aspects: list[float]) -> list[Rect] | None:
    """The first well inside the second."""
    outer = extent(aspects[1], dice.between(38, 54), FIELD, FIELD)
    if outer is None:
        return None
    room = int(min(outer) * 0.62)
    inner = extent(aspects[0], dice.between(14, 26), room, room)
    if inner is None:
        return None
    x, y = MARGIN + dice.between(0, FIELD - outer[0]), MARGIN + dice.between(0, FIELD - outer[1])
    dx, dy = ((outer[k] - inner[k]) // 2 + dice.between(-2, 2) for k in (0, 1))
    return [Rect(x + dx, y + dy, *inner), Rect(x, y, *outer)]


def behind(dice: Dice, aspects: list[float]) -> list[Rect] | None:
    """The first partly hidden by the second, to its side and with its foot a little higher."""
    back = extent(aspects[0], dice.between(26, 36), 40, 46)
    front = extent(aspects[1], dice.between(20, 28), 36, 40)
    if back is None or front is None:
        return None
    side = dice.chance(0.5)
    share = 0.35 + 0.2 * dice.unit()  # of the narrower one's width lies before the other
    lap = int(min(back[0], front[0]) * share + 0.5)
    width = back[0] + front[0] - lap
    lift = dice.between(2, 5)
    height = max(back[1] + lift, front[1])
    if width > FIELD or height > FIELD:
        return None
    x = MARGIN + dice.between(0, FIELD - width)
    foot = MARGIN + height + dice.between(0, FIELD - height)
    back_x, front_x = (x, x + back[0] - lap) if side else (x + front[0] - lap, x)
    rects = [Rect(back_x, foot - lift - back[1], *back), Rect(front_x, foot - front[1], *front)]
    return rects if SEEN[0] <= seen_share(*rects) <= 0.9 else None


def seen_share(back: Rect, front: Rect) -> float:
    """The share of the back one's box that the front one's box leaves free."""
    across = min(back.x + back.w, front.x + front.w) - max(back.x, front.x)
    down = min(back.y + back.h, front.y + front.h) - max(back.y, front.y)
    return 1 - max(0, across) * max(0, down) / (back.w * back.h)


def riding(dice: Dice, aspects: list[float]) -> list[Rect] | None:
    """The first on the back of the second."""
    sizes = _mounted(dice, aspects, (17, 23), (30, 38), FIELD)
    return sizes and _placed(dice, sizes, MARGIN, FIELD)


def two_riding(dice: Dice, aspects: list[float]) -> list[Rect] | None:
    """The first on the second, and to their right the third on the fourth."""
    half = FIELD // 2 - 1
    left, right = (_mounted(dice, aspects[k : k + 2], (13, 15), (20, 24), half) for k in (0, 2))
    if left is None or right is None:
        return None
    level = MARGIN + dice.between(20, FIELD - 28)
    moved = [_at(rects, MARGIN + side * (half + 2), level) for rects, side in ((left, 0), (right, 1))]
    return [*moved[0], *moved[1]]


def _mounted(
    dice: Dice, aspects: list[float], upper: tuple[int, int], lower: tuple[int, int], most: int
) -> list[Rect] | None:
    """Rider and mount with the corner of both at (0, 0)."""
    rider = extent(aspects[0], dice.between(*upper), most, min(most, 28))
    mount = extent(aspects[1], dice.between(*lower), most, min(most, 40))
    if rider is None or mount is None or min(rider) < SHORTEST:
        return None
    upright = aspects[1] < UPRIGHT  # ridden on the shoulders, or its head would be hidden
    deep = int(mount[1] * ((0.1 if upright else 0.28) + 0.08 * dice.unit()))
    if rider[1] - deep < 0.45 * rider[1] or rider[1] + mount[1] - deep > FIELD:
        return None
    x = (mount[0] - rider[0]) // 2 + dice.between(-1, 1)
    left = min(0, x)
    return [Rect(x - left, 0, *rider), Rect(-left, rider[1] - deep, *mount)]


def _placed(dice: Dice, rects: list[Rect], start: int, room: int) -> list[Rect] | None:
    width = max(r.x + r.w for r in rects)
    height = max(r.y + r.h for r in rects)
    if width > room or height > room:
        return None
    return _at(rects, start + dice.between(0, room - width), start + dice.between(0, room - height))


def _at(rects: list[Rect], x: int, y: int) -> list[Rect]:
    return [Rect(r.x + x, r.y + y, r.w, r.h) for r in rects]
