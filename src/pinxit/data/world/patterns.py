"""The grammar rules: each draws one plan from the vocabulary. `draw_plan` picks a rule and keeps to a split.

The rules answer to the six GenEval tasks (single object, two objects, counting, colours, position, colour attribution)
and to what this world adds to them.
"""

from __future__ import annotations

from collections.abc import Callable

from pinxit.data.world.dice import Dice
from pinxit.data.world.plan import Part, Plan, Size
from pinxit.data.world.scene import RelationName
from pinxit.data.world.splits import Split, belongs
from pinxit.data.world.vocabulary import (
    CARRIERS,
    COLOURS,
    FORMS,
    MOST,
    Lexicon,
    apart,
    carries,
    stands_out,
)

Rule = Callable[[Dice, Lexicon], Plan | None]
SIDES: tuple[RelationName, ...] = ("left of", "right of", "above", "below")
_MIXES = (("sprites", 0.5), ("coloured", 0.35), ("mixed", 0.15))


def draw_pattern(dice: Dice, words: Lexicon) -> str:
    """One of the preset's patterns, by their weights."""
    return dice.weighted(SMALL_WEIGHTS if words.preset == "small" else FULL_WEIGHTS)


def draw_plan(dice: Dice, words: Lexicon, split: Split, pattern: str) -> Plan:
    """A plan of this pattern and split."""
    rule = RULES[pattern]
    while True:
        plan = rule(dice, words)
        if plan is not None and sound(plan) and belongs(plan, split):
            return plan


def sound(plan: Plan) -> bool:
    """Whether everything in the plan can be told apart and seen against its ground, and rests on what can carry it."""
    if not all(part.colour is None or stands_out(part.colour, plan.place) for part in plan.parts):
        return False
    for i, one in enumerate(plan.parts):
        for other in plan.parts[i + 1 :]:
            if one.colour and other.colour and one.colour != other.colour and not apart(one.colour, other.colour):
                return False
            if one.name == other.name and one.colour == other.colour and not plan.told:
                return False
    pairs = zip(plan.parts, plan.relations, plan.parts[1:], strict=False)
    return all(relation != "on top of" or carries(lower.name, lower.form) for _, relation, lower in pairs)


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
    """A shape, solid or made thing in one of the eleven colours."""
    colour, draw = dice.pick(COLOURS), dice.unit()
    if draw < 0.45:
        return Part(dice.pick(words.shapes), "shape", colour, size)
    if draw < 0.72:
        return Part(dice.pick(words.solids), "solid", colour, size)
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


def _one_size(dice: Dice) -> Size | None:
    return dice.weighted(((None, 0.8), ("small", 0.1), ("big", 0.1)))


def _sizes(dice: Dice, share: float) -> tuple[Size | None, Size | None]:
    """Two sizes that differ, or none at all."""
    if not dice.chance(share):
        return None, None
    return ("small", "big") if dice.chance(0.5) else ("big", "small")


def single_object(dice: Dice, words: Lexicon) -> Plan | None:
    """A penguin."""
    part = sprite(dice, words, size=_one_size(dice))
    return Plan("single_object", (part,), place=choose_place(dice, words, part))


def two_objects(dice: Dice, words: Lexicon) -> Plan | None:
    """A penguin and a car."""
    one, other = couple(dice, words, (("sprites", 0.85), ("mixed", 0.15)))
    if one.name == other.name:
        return None
    side: RelationName = "left of" if dice.chance(0.75) else "above"
    return Plan("two_objects", (one, other), (side,), choose_place(dice, words, one, other))


def counting(dice: Dice, words: Lexicon) -> Plan | None:
    """Three penguins; four green triangles."""
    count = dice.weighted([(n, 1.3 if n > 2 else 1.0) for n in range(2, MOST[words.preset] + 1)])
    if dice.chance(0.55):
        part = sprite(dice, words, count=count)
    else:
        kind = coloured(dice, words)
        part = Part(kind.name, kind.kind, kind.colour, count=count)
    return Plan("counting", (part,), place=choose_place(dice, words, part))


def colours(dice: Dice, words: Lexicon) -> Plan | None:
    """A red cube; a triangular green clock."""
    part = coloured(dice, words, _one_size(dice))
    return Plan("colours", (part,), place=choose_place(dice, words, part))


def position(dice: Dice, words: Lexicon) -> Plan | None:
    """A penguin to the left of a car; an orange circle above a purple square."""
    one, other = couple(dice, words, _MIXES)
    if one.name == other.name and one.colour == other.colour:
        return None
    sizes = _sizes(dice, 0.15)
    parts = (_sized(one, sizes[0]), _sized(other, sizes[1]))
    return Plan("position", parts, (dice.pick(SIDES),), choose_place(dice, words, one, other))


def colour_attribution(dice: Dice, words: Lexicon) -> Plan | None:
    """A red cube and a blue clock."""
    one, other = coloured(dice, words), coloured(dice, words)
    if one.colour == other.colour:
        return None
    side: RelationName = "left of" if dice.chance(0.75) else "above"
    return Plan("colour_attribution", (one, other), (side,), choose_place(dice, words, one, other))


def on_top(dice: Dice, words: Lexicon) -> Plan | None:
    """A small red cube on top of a big green cube."""
    lower_name = dice.pick([name for name in CARRIERS if name in words.nouns])
    colour = None if words.nouns[lower_name].kind == "sprite" else dice.pick(COLOURS)
    lower = Part(lower_name, words.nouns[lower_name].kind, colour)
    upper = sprite(dice, words) if dice.chance(0.25) else coloured(dice, words)
    if upper.kind == "solid" or lower.kind == "solid":  # blocks on blocks are the heart of it
        upper = Part(dice.pick(words.solids), "solid", dice.pick(COLOURS)) if dice.chance(0.5) else upper
    if upper.name == lower.name and upper.colour == lower.colour:
        return None
    sizes: tuple[Size | None, Size | None] = ("small", "big") if dice.chance(0.6) else (None, None)
    if dice.chance(0.1):
        sizes = ("big", "small")
    parts = (_sized(upper, sizes[0]), _sized(lower, sizes[1]))
    return Plan("on_top", parts, ("on top of",), choose_place(dice, words, *parts))


def sketch(dice: Dice, words: Lexicon) -> Plan | None:
    """A pencil sketch of a penguin."""
    return Plan("sketch", (sprite(dice, words),), style="pencil sketch")


def pair(dice: Dice, words: Lexicon) -> Plan | None:
    """The exact same penguin on the top as a sketch on the bottom."""
    part = sprite(dice, words)
    return Plan("pair", (part,), lower_style="pencil sketch")


def _sized(part: Part, size: Size | None) -> Part:
    return Part(part.name, part.kind, part.colour, size, part.form, part.count)


RULES: dict[str, Rule] = {
    "single_object": single_object,
    "two_objects": two_objects,
    "counting": counting,
    "colours": colours,
    "position": position,
    "colour_attribution": colour_attribution,
    "on_top": on_top,
    "sketch": sketch,
    "pair": pair,
}
SMALL_WEIGHTS: tuple[tuple[str, float], ...] = (
    ("single_object", 0.11),
    ("two_objects", 0.15),
    ("counting", 0.18),
    ("colours", 0.11),
    ("position", 0.18),
    ("colour_attribution", 0.13),
    ("on_top", 0.07),
    ("sketch", 0.03),
    ("pair", 0.04),
)
FULL_WEIGHTS = SMALL_WEIGHTS
