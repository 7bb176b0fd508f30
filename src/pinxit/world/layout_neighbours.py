"""Neighbours that differ from a base scene in what its plan leaves open: where things are, or the ground.

Only captions rich in detail distinguish them, so only worlds with such captions (`detail`) have them.
"""

from __future__ import annotations

from dataclasses import replace

from pinxit.world.compose import compose
from pinxit.world.dice import Dice
from pinxit.world.ingredients import choose_place, sound
from pinxit.world.plan import ScenePlan
from pinxit.world.positions import around, seen_in_place, where
from pinxit.world.scene import Scene
from pinxit.world.splits import Split, belongs
from pinxit.world.vocabulary import Lexicon

MOVED, REGROUNDED = 0.5, 0.4  # how often a group has a neighbour of each kind
_TRIES = 12


def layout_neighbours(base: Scene, plan: ScenePlan, words: Lexicon, split: Split, dice: Dice) -> list[Scene]:
    """At most one scene of the same plan laid out elsewhere, and one on another ground."""
    scenes = []
    if dice.chance(MOVED) and seen_in_place(base):
        scenes.append(_moved(base, plan, words, dice))
    if dice.chance(REGROUNDED) and _has_ground(plan) and plan.light is None:
        scenes.append(_regrounded(plan, words, split, dice))
    return [scene for scene in scenes if scene is not None]


def _has_ground(plan: ScenePlan) -> bool:
    """Whether one ground fills the picture: not so in a pencil sketch, on its white paper, and in a pair."""
    return plan.grounded and plan.lower_style is None


def _moved(base: Scene, plan: ScenePlan, words: Lexicon, dice: Dice) -> Scene | None:
    """The same things where nobody would say that they lie as before."""
    here = where(around(base.items))
    for _ in range(_TRIES):
        scene = compose(plan, dice, words)
        there = None if scene is None else where(around(scene.items))
        if there is not None and any(a and b and a != b for a, b in zip(here, there, strict=True)):
            return scene
    return None


def _regrounded(plan: ScenePlan, words: Lexicon, split: Split, dice: Dice) -> Scene | None:
    for _ in range(_TRIES):
        changed = replace(plan, place=choose_place(dice, words, *plan.parts))
        if changed.place != plan.place and sound(changed) and belongs(changed, split):
            scene = compose(changed, dice, words)
            if scene is not None:
                return scene
    return None
