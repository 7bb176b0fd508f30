"""The sentences that made text-to-image famous, as far as a preset can express them. All of them are held out."""

from __future__ import annotations

from pinxit.data.world.captions import plain_caption
from pinxit.data.world.compose import compose
from pinxit.data.world.dice import Dice
from pinxit.data.world.ingredients import sound
from pinxit.data.world.patterns import WEIGHTS
from pinxit.data.world.plan import Part, Plan, Size
from pinxit.data.world.scene import RelationName, Scene
from pinxit.data.world.vocabulary import PresetName, lexicon


def _cube(colour: str, size: Size | None = None) -> Part:
    return Part("cube", "solid", colour, size)


def _sprite(name: str) -> Part:
    return Part(name, "sprite")


_CLOTHES = (("red", "hat"), ("yellow", "gloves"), ("blue", "shirt"), ("green", "trousers"))
_ON: tuple[RelationName, ...] = ("on top of", "on top of")

FAMOUS_PLANS: tuple[Plan, ...] = (
    Plan("colours", (Part("clock", "made", "green", form="triangle"),)),
    Plan("on_top", (_cube("red", "small"), _cube("green", "big")), ("on top of",)),
    Plan("pair", (_sprite("cat"),), lower_style="pencil sketch"),
    Plan("stack", (_cube("red"), _cube("green"), _cube("blue")), _ON),
    Plan("stack", (_cube("blue"), _cube("green"), _cube("red")), _ON),
    Plan("outfit", (Part("penguin", "sprite", outfit=_CLOTHES),)),
    Plan("shaped", (Part("armchair", "made", form="avocado"),)),
    Plan("two_objects", (_sprite("snail"), _sprite("harp")), ("left of",)),
    Plan("two_objects", (_sprite("panda"), _sprite("cup of coffee")), ("left of",)),
    Plan("style", (_sprite("fox"), _sprite("unicorn")), ("left of",), "snowy forest", style="folded from paper"),
    Plan(
        "riding",
        (_sprite("horse"), _sprite("astronaut"), _sprite("astronaut"), _sprite("horse")),
        ("riding", "left of", "riding"),
    ),
    Plan("words", (Part("storefront", "made", words="OPENAI"),)),
    Plan("light", (_sprite("capybara"),), place="meadow", light="sunrise"),
)
"""A panda making latte art is told as a panda and a cup of coffee, a snail made of a harp as a snail and a harp."""


def demonstrations(preset: PresetName = "small", seed: int = 0) -> list[tuple[str, Scene]]:
    """(prompt, scene) of every famous demonstration whose things this preset has."""
    words = lexicon(preset)
    result = []
    for index, plan in enumerate(FAMOUS_PLANS):
        if plan.pattern not in dict(WEIGHTS[preset]) or not all(part.name in words.nouns for part in plan.parts):
            continue
        assert sound(plan)
        dice = Dice("demonstration", seed, index)
        scene = compose(plan, dice, words)
        while scene is None:
            scene = compose(plan, dice, words)
        result.append((plain_caption(scene, words), scene))
    return result
