"""Captions of a scene: several phrasings, all true, the plainest first."""

from __future__ import annotations

from typing import Literal

from pinxit.data.world import chinese, english
from pinxit.data.world.dice import Dice
from pinxit.data.world.plan import meaning
from pinxit.data.world.scene import Scene
from pinxit.data.world.vocabulary import Lexicon

Language = Literal["mixed", "en", "zh"]
LANGUAGES: tuple[Language, ...] = ("mixed", "en", "zh")
PHRASINGS = 4


def captions(scene: Scene, words: Lexicon, language: Language, dice: Dice) -> tuple[str, ...]:
    """Four captions: "mixed" gives three in English and one in Chinese.

    The first tells what a task would ask for; the ground is told in about half of the others and at least in one.
    """
    plan = meaning(scene)
    grounded = [dice.chance(0.5) for _ in range(PHRASINGS - 1)]
    if not any(grounded):
        grounded[dice.below(2)] = True
    if not plan.ground_told:
        grounded = [False] * len(grounded)
    if language == "zh":
        return (chinese.plain(plan, words), *chinese.variants(plan, words, dice, grounded))
    if language == "en":
        return (english.plain(plan, words), *english.variants(plan, words, dice, grounded))
    said = english.variants(plan, words, dice, grounded[:2])
    last = chinese.variants(plan, words, dice, grounded[2:], plainest=True)
    return (english.plain(plan, words), *said, *last)


def plain_caption(scene: Scene, words: Lexicon, language: Literal["en", "zh"] = "en") -> str:
    """The plainest true caption."""
    plan = meaning(scene)
    return chinese.plain(plan, words) if language == "zh" else english.plain(plan, words)
