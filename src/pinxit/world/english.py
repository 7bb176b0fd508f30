"""The English grammar: noun phrases, and the sentences that express one plan."""

from __future__ import annotations

from pinxit.world import english_templates
from pinxit.world.dice import Dice
from pinxit.world.phrasing import FilledTemplate, different, filled_templates, templates_of
from pinxit.world.plan import Part, ScenePlan
from pinxit.world.roles import GARMENTS
from pinxit.world.vocabulary import COUNTS, FORM_ADJECTIVE, PLACES, Lexicon, Noun

OTHER_SIZE = 0.4  # how often a phrase says "little" or "large"
_SIZES = {"small": ("small", "little"), "big": ("big", "large")}
_VOWELS = "aeiou"


def noun_phrase(part: Part, words: Lexicon, dice: Dice | None = None) -> str:
    """ "a small red cube", "three penguins", "a triangular green clock"; with dice, sometimes in other words."""
    noun = words.nouns[part.name]
    name = _name(noun, part.count, dice, words.synonym)
    shape_last = part.form is not None and part.form not in FORM_ADJECTIVE
    adjectives = [_size(part, dice)] if part.size else []
    if part.form and not shape_last and dice and dice.chance(0.3):
        shape_last = True
    elif part.form and not shape_last:
        adjectives.append(FORM_ADJECTIVE[part.form])
    if part.colour:
        at = len(adjectives) - 1 if part.form and not shape_last and dice and dice.chance(0.3) else len(adjectives)
        adjectives.insert(at, part.colour)
    said = " ".join([*adjectives, name])
    if shape_last:
        said += f" in the shape of {_of_form(part.form or '', words)}"
    if part.count > 1:
        return f"{_number(part.count, dice)} {said}"
    return with_article(said, noun, bool(adjectives)) + made_of(part, words) + clothing(part)


def _of_form(form: str, words: Lexicon) -> str:
    return article(form) if form not in words.nouns else f"{words.nouns[form].article} {form}"


def made_of(part: Part, words: Lexicon) -> str:
    """ " made of a harp", or nothing."""
    return f" made of {words.nouns[part.material].article} {part.material}" if part.material else ""


def clothing(part: Part) -> str:
    """ " wearing a red hat, yellow gloves and green trousers", or nothing."""
    return f" wearing {clothes(part)}" if part.outfit else ""


def clothes(part: Part) -> str:
    """ "a red hat, a tutu and green trousers"; the colour "" goes unsaid."""
    named = [(f"{colour} {garment}".strip(), GARMENTS[garment][0]) for colour, garment in part.outfit]
    worn = [article(said) if single else said for said, single in named]
    return " and ".join([", ".join(worn[:-1]), worn[-1]] if worn[1:] else worn)


def article(word: str) -> str:
    """The word with "a" or "an" before it."""
    return f"{'an' if word[0] in _VOWELS else 'a'} {word}"


def with_article(said: str, noun: Noun, described: bool) -> str:
    """The noun's own article where the noun comes first, else by the first letter."""
    return f"{noun.article} {said}" if not described and said.startswith(noun.name) else article(said)


def _name(noun: Noun, count: int, dice: Dice | None, other: float) -> str:
    if dice and noun.synonyms and dice.chance(other):
        name = dice.pick(noun.synonyms)
        return name if count == 1 else plural(name)
    return noun.name if count == 1 else noun.plural


def plural(word: str) -> str:
    """The regular plural; of "mug of coffee" that of its head."""
    head, of, rest = word.partition(" of ")
    if of:
        return f"{plural(head)}{of}{rest}"
    if word.endswith("man") and not word.endswith("human"):
        return word[:-2] + "en"
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def _size(part: Part, dice: Dice | None) -> str:
    usual, other = _SIZES[part.size or "small"]
    return other if dice and dice.chance(OTHER_SIZE) else usual


def _number(count: int, dice: Dice | None) -> str:
    return str(count) if dice and dice.chance(0.08) else COUNTS[count][0]


def plain(plan: ScenePlan, words: Lexicon) -> str:
    """The plainest true sentence: what a task asks a painter for."""
    said = fill(templates(plan)[0], plan, words, None)
    return said + setting(plan, None) if plan.mentions_place else said


def variants(plan: ScenePlan, words: Lexicon, dice: Dice, grounded: list[bool]) -> list[str]:
    """Further phrasings, none twice and none the plainest; `grounded[k]` says whether the k-th tells the ground."""

    def say(way: FilledTemplate, ground: bool) -> str:
        said = fill(way.template, way.plan, words, dice)
        return said + setting(plan, dice) if ground else said

    return different(
        [plain(plan, words)],
        dice.shuffled(filled_templates(plan, templates(plan), english_templates.RELATED)),
        say,
        grounded,
    )


def templates(plan: ScenePlan) -> tuple[str, ...]:
    """Every way to say the plan, the plainest first."""
    return templates_of(plan, english_templates)


def fill(template: str, plan: ScenePlan, words: Lexicon, dice: Dice | None) -> str:
    """The template with the plan's noun phrases in it."""
    first = plan.parts[0]
    slots = {letter: noun_phrase(part, words, dice) for letter, part in zip("abcd", plan.parts, strict=False)}
    colours = {letter: part.colour or "" for letter, part in zip("xyz", plan.parts, strict=False)}
    return template.format(**slots, **colours, n=first.name, p=words.nouns[first.name].plural, w=first.words)


def setting(plan: ScenePlan, dice: Dice | None) -> str:
    """ " on a white background", " in a meadow"."""
    if plan.place in PLACES:
        return " " + PLACES[plan.place][0]
    ways = ("on {} background", "on {} background", "against {} background", "with {} background")
    return " " + (dice.pick(ways) if dice else ways[0]).format(article(plan.place))
