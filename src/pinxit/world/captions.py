"""Captions of a scene: several phrasings, all true, the plainest first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pinxit.world import chinese, chinese_free, english, english_free
from pinxit.world.dice import Dice
from pinxit.world.plan import ScenePlan, meaning
from pinxit.world.scene import Scene
from pinxit.world.vocabulary import Lexicon

Language = Literal["mixed", "en", "zh"]
PHRASINGS = 4
RICH = 0.45  # beyond `small`, the share of captions 2 to 4 that mention every fact: a third of all four captions
GROUND = 0.5  # the share of the others that mention the ground


def captions(scene: Scene, words: Lexicon, language: Language, dice: Dice, rich: float = RICH) -> tuple[str, ...]:
    """Four captions: "mixed" gives three in English and one in Chinese.

    The first says what a task would ask for; about half of the others, and at least one, mention the ground. In the
    worlds beyond `small` at least half of the four do, and a share `rich` of captions 2 to 4 mentions everything: the
    ground, where things are and what is small or big.
    """
    if words.preset != "small":
        return _free_captions(scene, words, language, dice, rich)
    plan = meaning(scene)
    grounded = [dice.chance(0.5) for _ in range(PHRASINGS - 1)]
    if not any(grounded):
        grounded[dice.below(2)] = True
    if not plan.may_mention_ground:
        grounded = [False] * len(grounded)
    if language == "zh":
        return (chinese.plain(plan, words), *chinese.variants(plan, words, dice, grounded))
    if language == "en":
        return (english.plain(plan, words), *english.variants(plan, words, dice, grounded))
    said = english.variants(plan, words, dice, grounded[:2])
    last = chinese.variants(plan, words, dice, grounded[2:], plainest=True)
    return (english.plain(plan, words), *said, *last)


def _free_captions(scene: Scene, words: Lexicon, language: Language, dice: Dice, rich: float) -> tuple[str, ...]:
    plan = meaning(scene)
    tongues: tuple[Literal["en", "zh"], ...] = ("en", "en", "zh") if language == "mixed" else (language,) * 3
    captions = [plain_caption(scene, words, "zh" if language == "zh" else "en")]
    for tongue, (ground, full) in zip(tongues, _shares(plan, dice, rich), strict=True):
        said = _say(tongue)(scene, words, dice, ground, full)
        while said in captions:
            said = _say(tongue)(scene, words, dice, ground, full)
        captions.append(said)
    return tuple(captions)


def _shares(plan: ScenePlan, dice: Dice, rich: float) -> list[tuple[bool, bool]]:
    """Which of the further captions tell the ground, and which everything."""
    full = [dice.chance(rich) for _ in range(PHRASINGS - 1)]
    ground = [all_of_it or dice.chance(GROUND) for all_of_it in full]
    expected = PHRASINGS // 2 - plan.mentions_place
    for k in dice.shuffled(range(PHRASINGS - 1)):
        if sum(ground) < expected:
            ground[k] = True
    return [(one and plan.may_mention_ground, all_of_it) for one, all_of_it in zip(ground, full, strict=True)]


def _say(language: Literal["en", "zh"]) -> Callable[[Scene, Lexicon, Dice, bool, bool], str]:
    return chinese_free.say if language == "zh" else english_free.say


def plain_caption(scene: Scene, words: Lexicon, language: Literal["en", "zh"] = "en") -> str:
    """The plainest true caption."""
    plan = meaning(scene)
    return chinese.plain(plan, words) if language == "zh" else english.plain(plan, words)
