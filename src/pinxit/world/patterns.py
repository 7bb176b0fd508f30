"""All grammar rules by name, how often each is drawn, and plans that keep to a split."""

from __future__ import annotations

from collections.abc import Callable

from pinxit.world import rules, rules_acting, rules_full
from pinxit.world.dice import Dice
from pinxit.world.ingredients import sound
from pinxit.world.plan import ScenePlan
from pinxit.world.splits import Split, belongs
from pinxit.world.vocabulary import Lexicon, PresetName

Rule = Callable[[Dice, Lexicon], ScenePlan | None]

RULES: dict[str, Rule] = {
    "single_object": rules.single_object,
    "two_objects": rules.two_objects,
    "counting": rules.counting,
    "colours": rules.colours,
    "position": rules.position,
    "colour_attribution": rules.colour_attribution,
    "on_top": rules.on_top,
    "sketch": rules.sketch,
    "pair": rules.pair,
    "style": rules_full.style,
    "stack": rules_full.stack,
    "inside": rules_full.inside,
    "behind": rules_full.behind,
    "riding": rules_acting.riding,
    "outfit": rules_acting.outfit,
    "words": rules_full.words_on,
    "shaped": rules_full.shaped,
    "view": rules_full.view,
    "light": rules_full.light,
    "made_of": rules_acting.made_of,
    "walking": rules_acting.walking,
    "drinking": rules_acting.drinking,
    "making": rules_acting.making,
}
SMALL: tuple[tuple[str, float], ...] = (
    ("single_object", 0.11),
    ("two_objects", 0.15),
    ("counting", 0.18),
    ("colours", 0.11),
    ("position", 0.18),
    ("colour_attribution", 0.13),
    ("on_top", 0.07),
    ("sketch", 0.03),
    ("pair", 0.04),
)
FULL: tuple[tuple[str, float], ...] = (
    ("single_object", 0.12),
    ("two_objects", 0.11),
    ("counting", 0.11),
    ("colours", 0.08),
    ("position", 0.12),
    ("colour_attribution", 0.09),
    ("on_top", 0.05),
    ("pair", 0.03),
    ("style", 0.08),
    ("stack", 0.02),
    ("inside", 0.02),
    ("behind", 0.02),
    ("riding", 0.02),
    ("outfit", 0.03),
    ("words", 0.03),
    ("shaped", 0.02),
    ("view", 0.03),
    ("light", 0.02),
)
GALLERY: tuple[tuple[str, float], ...] = (
    ("single_object", 0.07),
    ("two_objects", 0.08),
    ("counting", 0.10),
    ("colours", 0.08),
    ("position", 0.10),
    ("colour_attribution", 0.08),
    ("on_top", 0.05),
    ("pair", 0.03),
    ("style", 0.08),
    ("stack", 0.04),
    ("inside", 0.02),
    ("behind", 0.02),
    ("riding", 0.03),
    ("outfit", 0.05),
    ("words", 0.05),
    ("shaped", 0.03),
    ("view", 0.05),
    ("light", 0.03),
    ("made_of", 0.03),
    ("walking", 0.02),
    ("drinking", 0.02),
    ("making", 0.02),
)
WEIGHTS: dict[PresetName, tuple[tuple[str, float], ...]] = {"small": SMALL, "gallery": GALLERY, "full": FULL}


def draw_pattern(dice: Dice, words: Lexicon) -> str:
    """One of the preset's patterns, by their weights."""
    return dice.weighted(WEIGHTS[words.preset])


def draw_plan(dice: Dice, words: Lexicon, split: Split, pattern: str) -> ScenePlan:
    """A plan of this pattern and split."""
    rule = RULES[pattern]
    while True:
        plan = rule(dice, words)
        if plan is not None and sound(plan) and belongs(plan, split):
            return plan
