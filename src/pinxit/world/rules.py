"""The grammar rules of all presets: each draws one plan from the vocabulary, or None when the draw makes no sense.

There is one for each of GenEval's six tasks (single object, two objects, counting, colours, position, colour
attribution), and others for things on top of things, sketches and pairs.
"""

from __future__ import annotations

from pinxit.world.dice import Dice
from pinxit.world.ingredients import choose_place, coloured, couple, one_size, sized, sprite, two_sizes
from pinxit.world.plan import Part, ScenePlan, Size
from pinxit.world.roles import CARRIERS
from pinxit.world.scene import RelationName
from pinxit.world.vocabulary import COLOURS, MOST, Lexicon

SIDES: tuple[RelationName, ...] = ("left of", "right of", "above", "below")
_MIXES = (("sprites", 0.5), ("coloured", 0.35), ("mixed", 0.15))


def single_object(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A penguin."""
    part = sprite(dice, words, size=one_size(dice))
    return ScenePlan("single_object", (part,), place=choose_place(dice, words, part))


def two_objects(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A penguin and a car."""
    one, other = couple(dice, words, (("sprites", 0.85), ("mixed", 0.15)))
    if one.name == other.name:
        return None
    side: RelationName = "left of" if dice.chance(0.75) else "above"
    return ScenePlan("two_objects", (one, other), (side,), choose_place(dice, words, one, other))


def counting(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """Three penguins; four green triangles."""
    count = dice.weighted([(n, 1.3 if n > 2 else 1.0) for n in range(2, MOST[words.preset] + 1)])
    if dice.chance(0.55):
        part = sprite(dice, words, count=count)
    else:
        kind = coloured(dice, words)
        part = Part(kind.name, kind.kind, kind.colour, count=count)
    return ScenePlan("counting", (part,), place=choose_place(dice, words, part))


def colours(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A red cube; a triangular green clock."""
    part = coloured(dice, words, one_size(dice))
    return ScenePlan("colours", (part,), place=choose_place(dice, words, part))


def position(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A penguin to the left of a car; an orange circle above a purple square."""
    one, other = couple(dice, words, _MIXES)
    if one.name == other.name and one.colour == other.colour:
        return None
    sizes = two_sizes(dice, 0.15)
    parts = (sized(one, sizes[0]), sized(other, sizes[1]))
    return ScenePlan("position", parts, (dice.pick(SIDES),), choose_place(dice, words, one, other))


def colour_attribution(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A red cube and a blue clock."""
    one, other = coloured(dice, words), coloured(dice, words)
    if one.colour == other.colour:
        return None
    side: RelationName = "left of" if dice.chance(0.75) else "above"
    return ScenePlan("colour_attribution", (one, other), (side,), choose_place(dice, words, one, other))


def on_top(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A small red cube on top of a big green cube."""
    lower_name = dice.pick([name for name in CARRIERS if name in words.nouns])
    colour = None if words.nouns[lower_name].kind == "sprite" else dice.pick(COLOURS)
    lower = Part(lower_name, words.nouns[lower_name].kind, colour)
    upper = sprite(dice, words) if dice.chance(0.25) else coloured(dice, words)
    if upper.kind == "solid" or lower.kind == "solid":  # so that blocks on blocks are frequent
        upper = Part(dice.pick(words.solids), "solid", dice.pick(COLOURS)) if dice.chance(0.5) else upper
    if upper.name == lower.name and upper.colour == lower.colour:
        return None
    sizes: tuple[Size | None, Size | None] = ("small", "big") if dice.chance(0.6) else (None, None)
    if dice.chance(0.1):
        sizes = ("big", "small")
    parts = (sized(upper, sizes[0]), sized(lower, sizes[1]))
    return ScenePlan("on_top", parts, ("on top of",), choose_place(dice, words, *parts))


def sketch(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A pencil sketch of a penguin."""
    return ScenePlan("sketch", (sprite(dice, words),), style="pencil sketch")


def pair(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """The exact same penguin on the top as a sketch on the bottom."""
    part = sprite(dice, words)
    below = "pencil sketch" if words.preset == "small" or dice.chance(0.6) else dice.pick(words.styles)
    return ScenePlan("pair", (part,), lower_style=below)
