"""Prompts unlike any caption of the world, by their words or by their phrasing, to test what a text encoder adds.

A tokenizer trained on captions has never met such words; a frozen language model has (Imagen, section 2.1).
"""

from __future__ import annotations

from dataclasses import replace

from pinxit.world import english
from pinxit.world.plan import ScenePlan, meaning
from pinxit.world.scene import Scene
from pinxit.world.vocabulary import Lexicon, lexicon

HELD_OUT_NOUNS: dict[str, str] = {
    "airplane": "jet",
    "bicycle": "velocipede",
    "cactus": "succulent",
    "car": "sedan",
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
    "house": "cottage",
    "lamp": "lantern",
    "mushroom": "fungus",
    "pine tree": "conifer",
    "ring": "hoop",
    "robot": "android",
    "sailboat": "yacht",
    "snail": "gastropod",
    "sphere": "orb",
    "strawberry": "berry",
    "turtle": "terrapin",
    "umbrella": "parasol",
}
"""A synonym or a hypernym for every thing that has one."""

PARAPHRASES: dict[str, str] = {
    "{a}": "something that shows {a}",
    "{a} and {b}": "both {a} and {b} can be made out",
    "{a} to the left of {b}": "{a} on the left-hand side of {b}",
    "{a} to the right of {b}": "{a} on the right-hand side of {b}",
    "{a} above {b}": "{a} higher up than {b}",
    "{a} below {b}": "{a} further down than {b}",
    "{a} on top of {b}": "{a} resting upon {b}",
    "a pencil sketch of {a}": "what {a} looks like when somebody has sketched it",
}
"""The plainest sentence of a kind of plan, and one that means the same and that no caption is put like."""


def can_be_reworded(scene: Scene) -> bool:
    """Whether every thing that the scene's sentence names has a name that no caption uses."""
    plan = meaning(scene)
    return plan.lower_style is None and all(part.name in HELD_OUT_NOUNS for part in plan.parts)


def reworded_caption(scene: Scene) -> str:
    """The plainest English caption of a scene of the small world, its nouns replaced. See `can_be_reworded`."""
    plan: ScenePlan = meaning(scene)
    return english.plain(plan, _reworded(lexicon("small"), {part.name for part in plan.parts}))


def can_be_paraphrased(scene: Scene) -> bool:
    """Whether the scene's sentence can be put as no caption is."""
    return english.templates(meaning(scene))[0] in PARAPHRASES


def paraphrased_caption(scene: Scene) -> str:
    """An English sentence about a scene of the small world, put as no caption is. See `can_be_paraphrased`."""
    plan: ScenePlan = meaning(scene)
    said = english.fill(PARAPHRASES[english.templates(plan)[0]], plan, lexicon("small"), None)
    return said + english.setting(plan, None) if plan.mentions_place else said


def _reworded(words: Lexicon, names: set[str]) -> Lexicon:
    nouns = dict(words.nouns)
    for name in names:
        new = HELD_OUT_NOUNS[name]
        several = "fungi" if new == "fungus" else "trout" if new == "trout" else english.plural(new)
        nouns[name] = replace(nouns[name], name=new, plural=several, article=english.article(new).split()[0])
    return replace(words, nouns=nouns)
