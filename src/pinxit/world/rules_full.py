"""The grammar rules that the small preset does not have."""

from __future__ import annotations

from pinxit.world.dice import Dice
from pinxit.world.ingredients import choose_place, coloured, sprite
from pinxit.world.plan import GROUNDED_STYLES, Part, ScenePlan
from pinxit.world.roles import CONTAINERS, CUT_OPEN, WRITTEN, cast, shapely
from pinxit.world.scene import RelationName
from pinxit.world.sign_words import sign_word
from pinxit.world.vocabulary import COLOURS, LIGHTS, VIEWS, Lexicon, stands_out

_LIT_PLACES = {
    "sunrise": ("meadow", "beach", "desert", "mountains", "snow"),
    "rain": ("meadow", "beach", "mountains"),
    "snowfall": ("meadow", "mountains", "snowy forest"),
}


def style(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A watercolour of a fox; a fox and a unicorn in a snowy forest, folded from paper."""
    chosen = dice.pick(words.styles)
    one, other = sprite(dice, words), sprite(dice, words)
    both = dice.chance(0.3)
    if both and one.name == other.name:
        return None
    parts = (one, other) if both else (one,)
    place = choose_place(dice, words, *parts) if chosen in GROUNDED_STYLES else "white"
    relations: tuple[RelationName, ...] = ("left of",) if both else ()
    return ScenePlan("style", parts, relations, place, style=chosen)


def stack(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A stack of three cubes: red on top, green in the middle, blue at the bottom."""
    same = dice.chance(0.6)
    first = dice.pick(("cube", "cylinder"))
    names = [first] * 3 if same else [dice.pick(words.solids), dice.pick(("cube", "cylinder")), first]
    parts = tuple(Part(name, "solid", dice.pick(COLOURS)) for name in names)
    if len({part.colour for part in parts}) < 3:
        return None
    return ScenePlan("stack", parts, ("on top of", "on top of"), choose_place(dice, words, *parts))


def inside(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A red star inside a yellow circle; a cat inside a white square."""
    outer = Part(dice.pick(CONTAINERS), "shape", dice.pick(COLOURS))
    if dice.chance(0.3):
        outer = Part(outer.name, "shape", "white")
        inner = sprite(dice, words)
    else:
        inner = coloured(dice, words)
    if inner.name == outer.name or (inner.colour and not stands_out(inner.colour, outer.colour or "")):
        return None
    return ScenePlan("inside", (inner, outer), ("inside",), choose_place(dice, words, outer))


def behind(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A cat behind a car; a red cube behind a blue sphere."""
    hidden = sprite(dice, words) if dice.chance(0.5) else coloured(dice, words)
    front = sprite(dice, words) if dice.chance(0.5) else coloured(dice, words)
    if hidden.name == front.name or "ring" in (hidden.name, front.name):
        return None
    return ScenePlan("behind", (hidden, front), ("behind",), choose_place(dice, words, hidden, front))


def words_on(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A sign that says HELLO; a blue storefront with the word BREAD on it."""
    colour = dice.pick(COLOURS) if dice.chance(0.6) else None
    part = Part(dice.pick(WRITTEN), "made", colour, words=sign_word(dice))
    return ScenePlan("words", (part,), place=choose_place(dice, words, part))


def shaped(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """An armchair in the shape of an avocado; a blue clock in the shape of a fish."""
    colour = dice.pick(COLOURS) if dice.chance(0.5) else None
    part = Part(dice.pick(words.made), "made", colour, form=dice.pick(shapely(words)))
    return ScenePlan("shaped", (part,), place=choose_place(dice, words, part))


def view(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A close-up of a cat; a cat upside down; a cross-section of a kiwi."""
    chosen = dice.pick(VIEWS)
    part = Part(dice.pick(cast(CUT_OPEN, words)), "sprite") if chosen == "cross-section" else sprite(dice, words)
    return ScenePlan("view", (part,), place=choose_place(dice, words, part), view=chosen)


def light(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A penguin on a beach at sunrise with long shadows; a watercolour of it."""
    chosen = dice.pick(LIGHTS)
    style = "watercolour" if dice.chance(0.3) else None
    return ScenePlan("light", (sprite(dice, words),), place=dice.pick(_LIT_PLACES[chosen]), light=chosen, style=style)
