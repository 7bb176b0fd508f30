"""English captions of the worlds beyond `small`: a sentence is assembled from randomly chosen phrases.

First the objects and their relation, then view, light and place, last the style of the picture.
"""

from __future__ import annotations

from pinxit.world import english_free_templates as templates
from pinxit.world.dice import Dice
from pinxit.world.english import article
from pinxit.world.english_phrases import bare, name_of, phrase
from pinxit.world.plan import Part, ScenePlan, meaning
from pinxit.world.positions import around, in_corner, seen_in_place, where, with_sizes
from pinxit.world.scene import RelationName, Scene
from pinxit.world.vocabulary import HORIZON, PLACES, Lexicon

INTRO = 0.3  # share of captions without style or view that begin with "a picture of" or the like
PHOTO = 0.3  # of those, the share that say "photo"
POSED = 0.35  # share in which an animal or a person in a place is said to sit or stand there
AHEAD = 0.08  # share in which a place or light comes first: "at night, a cat"
WITH_PLACES = 0.75  # how often a rich caption tells where each of two things is


def say(scene: Scene, words: Lexicon, dice: Dice, ground: bool, rich: bool) -> str:
    """One caption. `ground` mentions the ground, too; `rich` also positions and sizes, which only the boxes give."""
    plan = with_sizes(scene) if rich else meaning(scene)
    placed = rich and seen_in_place(scene)
    said, wrapped = _core(plan, scene, words, dice, placed)
    style = dice.pick(templates.STYLED[plan.style]) if plan.style is not None else None
    if style is not None and style.startswith("{} "):  # "a cat folded from paper on a blue background"
        return _behind(style.format(said), plan, words, dice, ground)[0]
    said, ahead = _behind(said, plan, words, dice, ground)
    if style is not None:
        return style.format(said)
    if ahead or wrapped or plan.view is not None or not dice.chance(INTRO):
        return said
    return _introduced(said, plan, dice)


def _core(plan: ScenePlan, scene: Scene, words: Lexicon, dice: Dice, placed: bool) -> tuple[str, bool]:
    """The phrase for the objects and their relation, and whether it cannot follow "a photo of"."""
    if plan.lower_style is not None:
        return _pair(plan, words, dice), True
    if len(plan.parts) == 2 and not plan.mentions_relations:
        return _two(plan, scene, words, dice, placed)
    template = _template(plan, dice)
    said = _filled(template, plan, words, dice)
    if plan.view is not None:
        ways = templates.VIEWED[plan.view]
        name = bare(plan.parts[0], words, dice)
        said = dice.pick(ways).format(said, n=name)
    if placed:
        said += _where(scene, dice, range(len(scene.items)), ", " if len(plan.parts) > 1 else " ")
    return said, template.startswith(("on the ", "at the "))


def _template(plan: ScenePlan, dice: Dice) -> str:
    first = plan.parts[0]
    if first.words:
        return dice.pick(templates.WRITTEN)
    if len(plan.parts) == 1:
        return "{a}"
    if len(plan.relations) == 1:
        return dice.pick(templates.RELATED[plan.relations[0]])
    if plan.relations[0] == "riding":
        return dice.pick(templates.TWO_RIDING)
    return dice.pick(templates.SAME_NAME if len({part.name for part in plan.parts}) == 1 else templates.STACKED)


def _filled(template: str, plan: ScenePlan, words: Lexicon, dice: Dice) -> str:
    """The template with the plan's noun phrases in it; equal things are called the same throughout."""
    parts = plan.parts
    alike = len(parts) > 1 and len({part.name for part in parts}) == 1
    called = name_of(words.nouns[parts[0].name], 1, words, dice) if alike else None
    slots = {letter: phrase(part, words, dice, called) for letter, part in zip("abcd", parts, strict=False)}
    colours = {letter: part.colour or "" for letter, part in zip("xyz", parts, strict=False)}
    several = name_of(words.nouns[parts[0].name], 2, words, dice)
    return template.format(**slots, **colours, p=several, w=parts[0].words)


def _pair(plan: ScenePlan, words: Lexicon, dice: Dice) -> str:
    part = plan.parts[0]
    called = name_of(words.nouns[part.name], 1, words, dice)
    slots = {"a": phrase(part, words, dice, called), "n": bare(part, words, dice, called)}
    return dice.pick(templates.PAIR).format(**slots, s=dice.pick(templates.LOWER[plan.lower_style or ""]))


def _two(plan: ScenePlan, scene: Scene, words: Lexicon, dice: Dice, placed: bool) -> tuple[str, bool]:
    """Two things joined by "and"; in a rich caption with the position of each."""
    said = [phrase(part, words, dice) for part in plan.parts]
    if placed and plan.view is None and dice.chance(WITH_PLACES):
        at = [_where(scene, dice, (k,), " ") for k in (0, 1)]
        if all(at):
            both = [one + place for one, place in zip(said, at, strict=True)]
            return " and ".join(both if dice.chance(0.5) else both[::-1]), False
    ways = templates.AND_ABOVE if "above" in plan.relations else templates.AND
    return dice.pick(ways).format(a=said[0], b=said[1]), False


def _where(scene: Scene, dice: Dice, members: range | tuple[int, ...], before: str) -> str:
    """ "in the upper left corner", or nothing where that is not clear-cut."""
    box = around(scene.items[k] for k in members)
    position = where(box)
    if position not in templates.WHERE:
        return ""
    corner = position in templates.CORNER and in_corner(box) and dice.chance(0.6)
    return before + dice.pick(templates.CORNER[position] if corner else templates.WHERE[position])


def _behind(said: str, plan: ScenePlan, words: Lexicon, dice: Dice, ground: bool) -> tuple[str, bool]:
    """The sentence with light and ground appended, or rarely put in front, and whether they are in front."""
    ends = []
    if plan.light is not None:
        ends.append(dice.pick(templates.LIT[plan.light]))
    if ground:
        ends.insert(dice.below(len(ends) + 1), _ground(plan.place, dice))
        if _poses(plan, words) and dice.chance(POSED):
            said += dice.pick(templates.POSED)
    plain_view = plan.place in PLACES and plan.view is None and plan.style is None
    if len(ends) == 1 and plain_view and not ends[0].startswith(("with ", ",")) and dice.chance(AHEAD):
        return f"{ends[0]}, {said}", True
    return said + "".join(end if end.startswith(",") else f" {end}" for end in ends), False


def _ground(place: str, dice: Dice) -> str:
    if place in PLACES:
        return dice.pick(templates.PLACES[place]) if dice.chance(0.7) else templates.PLACES[place][0]
    return dice.pick(templates.GROUNDS).format(article(place), c=place)


def _poses(plan: ScenePlan, words: Lexicon) -> bool:
    """Whether it may be said to sit or stand in its place: a creature alone, named last."""
    first: Part = plan.parts[0]
    able = {"mammal", "bird", "person"}.intersection(words.nouns[first.name].groups)
    alone = len(plan.parts) == 1 and first.count == 1 and plan.view is None
    alone = alone and plan.style in (None, "watercolour", "pencil sketch")
    return alone and bool(able) and plan.place in HORIZON and not (first.material or first.outfit)


def _introduced(said: str, plan: ScenePlan, dice: Dice) -> str:
    if dice.chance(PHOTO):
        return dice.pick(templates.PHOTO).format(said)
    if len(plan.parts) == 1:
        return dice.pick(templates.INTRO_ONE if plan.parts[0].count == 1 else templates.INTRO_MANY).format(said)
    deeds: tuple[RelationName, ...] = ("riding", "walking", "drinking", "making", "on top of")
    return dice.pick(templates.INTRO_DEED if plan.relations[0] in deeds else templates.INTRO_TWO).format(said)
