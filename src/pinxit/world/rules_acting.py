"""The grammar rules for riding, walking (leading), drinking and making; for outfits and materials."""

from __future__ import annotations

from pinxit.world.dice import Dice
from pinxit.world.ingredients import choose_place
from pinxit.world.plan import Part, ScenePlan
from pinxit.world.roles import (
    BODIES,
    DRINKERS,
    DRINKS,
    GARMENTS,
    LEADERS,
    LED,
    MAKERS,
    MATERIALS,
    RIDDEN,
    RIDERS,
    TUTU,
    cast,
    wardrobe,
    wearers,
)
from pinxit.world.scene import RelationName, garment_colour
from pinxit.world.vocabulary import COLOURS, Lexicon, apart

_MOST_CLOTHES = 4
_IN_TUTU = 0.3  # share of subjects of such relations that wear a tutu, if they can
_STYLED = 0.12  # share of such pictures that are drawn in a style


def riding(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A carrot in a tutu riding a bicycle; a monkey riding a horse beside a chick riding a pig."""
    riders, ridden = cast(RIDERS, words), cast(RIDDEN, words)
    if not dice.chance(0.12):
        return _acting("riding", riders, ridden, dice, words)
    parts = [Part(dice.pick(names), "sprite") for names in (riders, ridden) * 2]
    if len({part.name for part in parts}) < 4:
        return None
    return ScenePlan("riding", tuple(parts), ("riding", "left of", "riding"), choose_place(dice, words))


def walking(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A radish walking a dog."""
    return _acting("walking", cast(LEADERS, words), cast(LED, words), dice, words)


def drinking(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A carrot in a tutu drinking a cup of coffee."""
    return _acting("drinking", cast(DRINKERS, words), cast(DRINKS, words), dice, words)


def making(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A panda making a cup of coffee."""
    return _acting("making", cast(MAKERS, words), cast(DRINKS, words), dice, words)


def _acting(
    relation: RelationName, subjects: tuple[str, ...], objects: tuple[str, ...], dice: Dice, words: Lexicon
) -> ScenePlan | None:
    subject, other = Part(dice.pick(subjects), "sprite"), Part(dice.pick(objects), "sprite")
    if subject.name == other.name:
        return None
    if subject.name in TUTU and dice.chance(_IN_TUTU):
        subject = Part(subject.name, "sprite", outfit=(("", "tutu"),))
    style = dice.pick(words.styles) if dice.chance(_STYLED) else None
    place = "white" if style else choose_place(dice, words)
    return ScenePlan(relation, (subject, other), (relation,), place, style=style)


def outfit(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A penguin wearing a red hat, yellow gloves, a blue shirt and green trousers; a radish in a tutu."""
    name = dice.pick(cast(wearers(), words))
    garments = dice.shuffled(wardrobe(name))[: dice.between(1, _MOST_CLOTHES)]
    if "tutu" in garments and "trousers" in garments:
        return None
    worn = tuple((dice.pick(COLOURS), garment) for garment in GARMENTS if garment in garments)
    worn = tuple(("" if garment == "tutu" and dice.chance(0.4) else colour, garment) for colour, garment in worn)
    colours = [garment_colour(colour, garment) for colour, garment in worn]
    if any(not apart(a, b) for i, a in enumerate(colours) for b in colours[i + 1 :]):
        return None
    place = choose_place(dice, words, *(Part("", "shape", colour) for colour in colours))
    return ScenePlan("outfit", (Part(name, "sprite", outfit=worn),), place=place)


def made_of(dice: Dice, words: Lexicon) -> ScenePlan | None:
    """A snail made of a harp."""
    name, material = dice.pick(cast(BODIES, words)), dice.pick(cast(MATERIALS, words))
    if name == material:
        return None
    part = Part(name, "sprite", material=material)
    return ScenePlan("made_of", (part,), place=choose_place(dice, words, part))
