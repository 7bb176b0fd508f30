"""The English grammar: noun phrases, and the ways to say one plan."""

from __future__ import annotations

from pinxit.data.world.dice import Dice
from pinxit.data.world.phrasing import Way, different, ways
from pinxit.data.world.plan import Part, Plan
from pinxit.data.world.scene import RelationName
from pinxit.data.world.vocabulary import COUNTS, FORM_ADJECTIVE, PLACES, Lexicon, Noun

SYNONYM = 0.2  # how often a phrase uses another true name or adjective
_SIZES = {"small": ("small", "little"), "big": ("big", "large")}
_VOWELS = "aeiou"


def noun_phrase(part: Part, words: Lexicon, dice: Dice | None = None) -> str:
    """ "a small red cube", "three penguins", "a triangular green clock"; with dice, sometimes in other words."""
    noun = words.nouns[part.name]
    name, shape_last = _name(noun, part.count, dice), False
    adjectives = [_size(part, dice)] if part.size else []
    if part.form and dice and dice.chance(0.3):
        shape_last = True
    elif part.form:
        adjectives.append(FORM_ADJECTIVE[part.form])
    if part.colour:
        at = len(adjectives) - 1 if part.form and not shape_last and dice and dice.chance(0.3) else len(adjectives)
        adjectives.insert(at, part.colour)
    said = " ".join([*adjectives, name])
    if shape_last:
        said += f" in the shape of {article(part.form or '')}"
    return f"{_number(part.count, dice)} {said}" if part.count > 1 else with_article(said, noun, bool(adjectives))


def article(word: str) -> str:
    """The word with "a" or "an" before it."""
    return f"{'an' if word[0] in _VOWELS else 'a'} {word}"


def with_article(said: str, noun: Noun, described: bool) -> str:
    """The noun's own article where the noun comes first, else by the first letter."""
    return f"{noun.article} {said}" if not described and said == noun.name else article(said)


def _name(noun: Noun, count: int, dice: Dice | None) -> str:
    if dice and noun.synonyms and dice.chance(SYNONYM):
        other = dice.pick(noun.synonyms)
        return other if count == 1 else plural(other)
    return noun.name if count == 1 else noun.plural


def plural(word: str) -> str:
    """The regular plural."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def _size(part: Part, dice: Dice | None) -> str:
    usual, other = _SIZES[part.size or "small"]
    return other if dice and dice.chance(2 * SYNONYM) else usual


def _number(count: int, dice: Dice | None) -> str:
    return str(count) if dice and dice.chance(0.08) else COUNTS[count][0]


ONE = ("{a}", "a picture of {a}", "there is {a}", "this is {a}", "an image of {a}")
MANY = ("{a}", "a picture of {a}", "there are {a}", "a group of {a}", "an image of {a}")
AND = ("{a} and {b}", "{b} and {a}", "a picture of {a} and {b}", "there is {a} and {b}", "{a} together with {b}")
PAIR = (
    "the exact same {n} on the top as a sketch on the bottom",
    "{a} on the top and the same {n} as a sketch on the bottom",
    "{a} as a sketch below itself",
    "{a} and below it a pencil sketch of the same {n}",
    "{a} above a sketch of the same {n}",
)
SKETCH = (
    "a pencil sketch of {a}",
    "a sketch of {a}",
    "{a} as a pencil sketch",
    "{a} drawn in pencil",
    "a pencil drawing of {a}",
)
# {a} stands in the relation to {b}; where an inverse exists, {b} stands in the inverse relation to {a}.
RELATED: dict[RelationName, tuple[str, ...]] = {
    "left of": (
        "{a} to the left of {b}",
        "{a} left of {b}",
        "{a} on the left of {b}",
        "{a} is to the left of {b}",
        "a picture of {a} to the left of {b}",
        "{a} on the left and {b} on the right",
        "on the left {a} and on the right {b}",
    ),
    "right of": (
        "{a} to the right of {b}",
        "{a} right of {b}",
        "{a} on the right of {b}",
        "{a} is to the right of {b}",
        "a picture of {a} to the right of {b}",
        "{a} on the right and {b} on the left",
        "on the right {a} and on the left {b}",
    ),
    "above": (
        "{a} above {b}",
        "{a} is above {b}",
        "a picture of {a} above {b}",
        "{a} over {b}",
        "{a} at the top and {b} at the bottom",
    ),
    "below": (
        "{a} below {b}",
        "{a} is below {b}",
        "a picture of {a} below {b}",
        "{a} under {b}",
        "{a} at the bottom and {b} at the top",
    ),
    "on top of": (
        "{a} on top of {b}",
        "{a} on {b}",
        "{a} is on top of {b}",
        "{a} standing on {b}",
        "{a} sitting on {b}",
        "{b} with {a} on top of it",
        "{b} under {a}",
    ),
}
CHAINED: dict[RelationName, str] = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
    "on top of": "on top of",
}


def plain(plan: Plan, words: Lexicon) -> str:
    """The plainest true sentence: what a task asks a painter for."""
    said = fill(templates(plan)[0], plan, words, None)
    return said + setting(plan, None) if plan.pattern == "single_object" and plan.place != "white" else said


def variants(plan: Plan, words: Lexicon, dice: Dice, grounded: list[bool]) -> list[str]:
    """Further phrasings, none twice and none the plainest; `grounded[k]` says whether the k-th tells the ground."""

    def say(way: Way, ground: bool) -> str:
        said = fill(way.template, way.plan, words, dice)
        return said + setting(plan, dice) if ground else said

    return different([plain(plan, words)], dice.shuffled(ways(plan, templates(plan), RELATED)), say, grounded)


def templates(plan: Plan) -> tuple[str, ...]:
    """Every way to say the plan, the plainest first."""
    if plan.lower_style is not None:
        return PAIR
    if plan.style == "pencil sketch":
        return SKETCH
    if len(plan.parts) == 1:
        return ONE if plan.parts[0].count == 1 else MANY
    if plan.told:
        return RELATED[plan.relations[0]]
    return AND


def fill(template: str, plan: Plan, words: Lexicon, dice: Dice | None) -> str:
    """The template with the plan's noun phrases in it."""
    first = plan.parts[0]
    slots = {"a": noun_phrase(first, words, dice), "n": first.name}
    if len(plan.parts) > 1:
        slots["b"] = noun_phrase(plan.parts[1], words, dice)
    return template.format(**slots)


def setting(plan: Plan, dice: Dice | None) -> str:
    """ " on a white background", " in a meadow"."""
    if plan.place in PLACES:
        return " " + PLACES[plan.place][0]
    ways = ("on {} background", "on {} background", "against {} background", "with {} background")
    return " " + (dice.pick(ways) if dice else ways[0]).format(article(plan.place))
