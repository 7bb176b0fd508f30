"""Layouts of relations in which one object walks (leads), drinks or makes the other."""

from __future__ import annotations

from pinxit.world.dice import Dice
from pinxit.world.layout import FIELD, MARGIN, SHORTEST, Rect, extent


def walking(dice: Dice, aspects: list[float]) -> list[Rect] | None:
    """The first and the second beside each other on one ground, with room for a leash between them."""
    leader = extent(aspects[0], dice.between(25, 34), 30, 46)
    led = extent(aspects[1], dice.between(18, 26), 30, 34)
    if leader is None or led is None:
        return None
    gap = dice.between(5, 11)
    width, height = leader[0] + gap + led[0], max(leader[1], led[1])
    if width > FIELD or height > FIELD:
        return None
    x, foot = MARGIN + dice.between(0, FIELD - width), MARGIN + height + dice.between(0, FIELD - height)
    leads = dice.chance(0.5)  # from the left
    xs = (x, x + leader[0] + gap) if leads else (x + led[0] + gap, x)
    return [Rect(xs[0], foot - leader[1], *leader), Rect(xs[1], foot - led[1], *led)]


def drinking(dice: Dice, aspects: list[float]) -> list[Rect] | None:
    """The second, a drink, at the side of the first below its mouth, overlapping it a little."""
    return _served(dice, aspects, lap=(0.15, 0.3), lift=(0.2, 0.32))


def making(dice: Dice, aspects: list[float]) -> list[Rect] | None:
    """The second, a drink, before the foot of the first and to its side."""
    return _served(dice, aspects, lap=(0.22, 0.38), lift=(-0.06, 0.0))


def _served(dice: Dice, aspects: list[float], lap: tuple[float, float], lift: tuple[float, float]) -> list[Rect] | None:
    """`lap`: how much of the drink's width lies before the other; `lift`: how far its foot is above the other's, as a
    share of the other's height."""
    one = extent(aspects[0], dice.between(34, 44), 44, 54)
    drink = extent(aspects[1], dice.between(16, 21), 24, 24)
    if one is None or drink is None or min(drink) < SHORTEST or drink[1] > 0.6 * one[1]:
        return None
    over = round(drink[0] * (lap[0] + (lap[1] - lap[0]) * dice.unit()))
    raised = round(one[1] * (lift[0] + (lift[1] - lift[0]) * dice.unit()))
    width, height = one[0] + drink[0] - over, one[1] + max(0, -raised)
    if width > FIELD or height > FIELD:
        return None
    x, y = MARGIN + dice.between(0, FIELD - width), MARGIN + dice.between(0, FIELD - height)
    foot = y + one[1] - raised
    right = dice.chance(0.5)
    xs = (x, x + one[0] - over) if right else (x + drink[0] - over, x)
    return [Rect(xs[0], y, *one), Rect(xs[1], foot - drink[1], *drink)]
