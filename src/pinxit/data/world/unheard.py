"""Sentences in words that no caption of the small world holds: does a painter know what they mean?

A tokenizer trained on captions has never met them; a frozen language model has (Imagen, section 2.1).
"""

from __future__ import annotations

from dataclasses import replace

from pinxit.data.world import english
from pinxit.data.world.plan import Plan, meaning
from pinxit.data.world.scene import Scene
from pinxit.data.world.vocabulary import Lexicon, lexicon

UNHEARD: dict[str, str] = {
    "airplane": "jet",
    "banana": "plantain",
    "bicycle": "velocipede",
    "butterfly": "moth",
    "cactus": "succulent",
    "car": "sedan",
    "carrot": "parsnip",
    "cat": "feline",
    "chair": "seat",
    "clock": "timepiece",
    "cone": "funnel",
    "crab": "crustacean",
    "cube": "box",
    "cylinder": "tube",
    "elephant": "pachyderm",
    "fish": "trout",
    "flower pot": "planter",
    "guitar": "ukulele",
    "house": "cottage",
    "lamp": "lantern",
    "mushroom": "fungus",
    "pine tree": "conifer",
    "ring": "hoop",
    "robot": "android",
    "sailboat": "yacht",
    "snail": "slug",
    "sphere": "orb",
    "strawberry": "berry",
    "turtle": "terrapin",
    "umbrella": "parasol",
}
"""A near name for whatever has one: the same thing, its kind, or its next of kin."""


def can_be_reworded(scene: Scene) -> bool:
    """Whether every thing that the scene's sentence names has a name that no caption uses."""
    plan = meaning(scene)
    return plan.lower_style is None and all(part.name in UNHEARD for part in plan.parts)


def reworded_caption(scene: Scene) -> str:
    """The plainest English caption of a scene of the small world, its nouns replaced. See `can_be_reworded`."""
    plan: Plan = meaning(scene)
    return english.plain(plan, _reworded(lexicon("small"), {part.name for part in plan.parts}))


def _reworded(words: Lexicon, names: set[str]) -> Lexicon:
    nouns = dict(words.nouns)
    for name in names:
        new = UNHEARD[name]
        several = "fungi" if new == "fungus" else "trout" if new == "trout" else english.plural(new)
        nouns[name] = replace(nouns[name], name=new, plural=several, article=english.article(new).split()[0])
    return replace(words, nouns=nouns)
