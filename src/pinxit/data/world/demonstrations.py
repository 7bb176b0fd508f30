"""The sentences that made text-to-image famous, as far as a preset can express them. All of them are held out."""

from __future__ import annotations

from pinxit.data.world.captions import plain_caption
from pinxit.data.world.compose import compose
from pinxit.data.world.dice import Dice
from pinxit.data.world.patterns import sound
from pinxit.data.world.plan import Part, Plan
from pinxit.data.world.scene import Scene
from pinxit.data.world.vocabulary import PresetName, lexicon

# The sentence as the world says it, and its plan.
FAMOUS_PLANS: tuple[Plan, ...] = (
    Plan("colours", (Part("clock", "made", "green", form="triangle"),)),
    Plan(
        "on_top",
        (Part("cube", "solid", "red", "small"), Part("cube", "solid", "green", "big")),
        ("on top of",),
    ),
    Plan("pair", (Part("cat", "sprite"),), lower_style="pencil sketch"),
)


def demonstrations(preset: PresetName = "small", seed: int = 0) -> list[tuple[str, Scene]]:
    """(prompt, scene) of every famous demonstration whose things this preset has."""
    words = lexicon(preset)
    result = []
    for index, plan in enumerate(FAMOUS_PLANS):
        if not all(part.name in words.nouns for part in plan.parts):
            continue
        assert sound(plan)
        dice = Dice("demonstration", seed, index)
        scene = compose(plan, dice, words)
        while scene is None:
            scene = compose(plan, dice, words)
        result.append((plain_caption(scene, words), scene))
    return result
