"""Building blocks of the grammar rules: parts, grounds, sizes, and the check that a plan can be recognised."""

from __future__ import annotations

from dataclasses import replace

from pinxit.world.dice import Dice
from pinxit.world.plan import Part, ScenePlan, Size
from pinxit.world.roles import CUT_OPEN, carries
from pinxit.world.scene import RelationName
from pinxit.world.vocabulary import COLOURS, FORMS, Lexicon, apart, stands_out


def sound(plan: ScenePlan) -> bool:
    """Whether all parts can be distinguished and seen against the ground, and things rest on what can carry them."""
    if not all(part.colour is None or stands_out(part.colour, plan.place) for part in plan.parts):
        return False
    for i, one in enumerate(plan.parts):
        for other in plan.parts[i + 1 :]:
            if one.colour and other.colour and one.colour != other.colour and not apart(one.colour, other.colour):
                return False
            if one.name == other.name and one.colour == other.colour and not plan.mentions_relations:
                return False
    if plan.view == "cross-section" and plan.parts[0].name not in CUT_OPEN:
        return False
    pairs = zip(plan.parts, plan.relations, plan.parts[1:], strict=False)
    return all(_meet(one, relation, other) for one, relation, other in pairs)


def _meet(one: Part, relation: RelationName, other: Part) -> bool:
    """Whether the second can carry the first that stands on it, or shows the first that lies inside it."""
    if relation == "on top of":
        return carries(other.name, other.form)
    if relation == "inside" and other.colour is not None:
        return other.colour == "white" if one.colour is None else stands_out(one.colour, other.colour)
    return True


def choose_place(dice: Dice, words: Lexicon, *parts: Part) -> str:
    """A ground on which all the parts are seen: white most often, then plain colours, then places."""

    def fits(place: str) -> bool:
        return all(p.colour is None or stands_out(p.colour, place) for p in parts)

    draw = dice.unit()
    if draw < 0.33 and fits("white"):
        return "white"
    if draw > 0.78:
        place = dice.pick(words.places)
        if fits(place):
            return place
    colours = [colour for colour in COLOURS if fits(colour)]
    return dice.pick(colours) if colours else "white"


def sprite(dice: Dice, words: Lexicon, **facts: object) -> Part:
    """A thing in its natural colours."""
    return Part(dice.pick(words.sprites), "sprite", **facts)  # type: ignore[arg-type]


def coloured(dice: Dice, words: Lexicon, size: Size | None = None) -> Part:
    """A shape, solid or made thing in one of the eleven colours; in the full world also a repainted sprite."""
    colour, draw = dice.pick(COLOURS), dice.unit()
    if draw < 0.45:
        return Part(dice.pick(words.shapes), "shape", colour, size)
    if draw < 0.72:
        return Part(dice.pick(words.solids), "solid", colour, size)
    if words.preset != "small" and draw > 0.88:
        return Part(dice.pick(words.sprites), "sprite", colour, size)
    name = dice.pick(words.made)
    return Part(name, "made", colour, size, form=dice.pick(FORMS) if dice.chance(0.6) else None)


def couple(dice: Dice, words: Lexicon, mixes: tuple[tuple[str, float], ...]) -> tuple[Part, Part]:
    """Two parts to stand together: two sprites, two coloured things, or one of each in either order."""
    mix = dice.weighted(mixes)
    if mix == "sprites":
        return sprite(dice, words), sprite(dice, words)
    if mix == "coloured":
        return coloured(dice, words), coloured(dice, words)
    both = (sprite(dice, words), coloured(dice, words))
    return both if dice.chance(0.5) else both[::-1]


def one_size(dice: Dice) -> Size | None:
    """The size that the caption of a single thing tells: mostly none."""
    return dice.weighted(((None, 0.8), ("small", 0.1), ("big", 0.1)))


def two_sizes(dice: Dice, share: float) -> tuple[Size | None, Size | None]:
    """Two sizes that differ, or none at all."""
    if not dice.chance(share):
        return None, None
    return ("small", "big") if dice.chance(0.5) else ("big", "small")


def sized(part: Part, size: Size | None) -> Part:
    """The part in this size."""
    return replace(part, size=size)
