"""The noun phrases of the free-form English captions: one thing in many words."""

from __future__ import annotations

from pinxit.world.dice import Dice
from pinxit.world.english import article, clothes, plural, with_article
from pinxit.world.english_free_templates import FORMED, LOOKING, MATERIAL, WEARING
from pinxit.world.plan import Part
from pinxit.world.vocabulary import COUNTS, FORM_ADJECTIVE, Lexicon, Noun

BABY = 0.06  # how often an animal is called a baby: a word that changes nothing
FORM_BEFORE = 0.45  # how often a form stands before the noun: "a triangular clock", "an avocado-shaped armchair"
COLOUR_WITH_FORM = 0.5  # how often a form behind the noun takes the colour: "in the shape of a green triangle"
COLOUR_FIRST = 0.3  # "a green triangular clock" instead of "a triangular green clock"
_DIGIT = 0.06
# Names without an article: "drinking coffee". Several are cups of it.
UNCOUNTED = frozenset(
    {"coffee", "tea", "milk", "hot coffee", "green tea", "hot tea", "herbal tea", "cold milk", "fresh milk"}
)
_SIZES = {"small": (("small", 0.6), ("little", 0.3), ("tiny", 0.1)), "big": (("big", 0.5), ("large", 0.5))}


def phrase(part: Part, words: Lexicon, dice: Dice, called: str | None = None) -> str:
    """A noun phrase with its article or number; `called` fixes the name, singular."""
    said = bare(part, words, dice, called)
    if part.count > 1:
        number = str(part.count) if dice.chance(_DIGIT) else COUNTS[part.count][0]
        return f"{number} {said}"
    if said in UNCOUNTED:
        return said
    noun = words.nouns[part.name]
    return with_article(said, noun, described=False) if _begins_with(said, noun.name) else article(said)


def _begins_with(said: str, name: str) -> bool:
    return said == name or said.startswith(name + " ")


def bare(part: Part, words: Lexicon, dice: Dice, called: str | None = None) -> str:
    """The phrase without article or number: "small green clock in the shape of a fish"."""
    noun = words.nouns[part.name]
    colour, adjectives, after = part.colour, [], ""
    if part.form:
        if dice.chance(FORM_BEFORE):
            adjectives.append(_form_before(part.form, dice))
        else:
            shared = colour is not None and dice.chance(COLOUR_WITH_FORM)
            after += _form_after(part.form, colour if shared else None, words, dice)
            colour = None if shared else colour
    if colour:
        adjectives.insert(0 if dice.chance(COLOUR_FIRST) else len(adjectives), colour)
    if part.size:
        adjectives.insert(0, dice.weighted(_SIZES[part.size]))
    elif part.count == 1 and "animal" in noun.groups and dice.chance(BABY):
        adjectives.append("baby")
    if part.material:
        after += dice.pick(MATERIAL).format(_one(part.material, words))
    if part.outfit:
        after += dice.pick(WEARING).format(clothes(part))
    return " ".join([*adjectives, called or name_of(noun, part.count, words, dice)]) + after


def name_of(noun: Noun, count: int, words: Lexicon, dice: Dice) -> str:
    """One of the thing's names in the number that `count` asks for."""
    if noun.synonyms and dice.chance(words.synonym):
        name = dice.pick(noun.synonyms)
        if count == 1:
            return name
        return plural(name) if name not in UNCOUNTED else noun.plural
    return noun.name if count == 1 else noun.plural


def _form_before(form: str, dice: Dice) -> str:
    if form in FORM_ADJECTIVE and dice.chance(0.75):
        return FORM_ADJECTIVE[form]
    return f"{form.replace(' ', '-')}-shaped"


def _form_after(form: str, colour: str | None, words: Lexicon, dice: Dice) -> str:
    ways = LOOKING if words.nouns[form].kind == "sprite" else FORMED
    what = article(f"{colour} {form}") if colour else _one(form, words)
    return dice.pick(ways).format(what)


def _one(name: str, words: Lexicon) -> str:
    return f"{words.nouns[name].article} {name}"
