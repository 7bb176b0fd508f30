"""The prompts that made text-to-image famous, as the news quoted them, each with the plan of a matching picture.

They are the exam of the gallery: neither they nor their combinations are in any training caption (`splits.FAMOUS`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import Literal

from pinxit.world.compose import compose
from pinxit.world.dice import Dice
from pinxit.world.expectations import ExpectedScene, expected_of
from pinxit.world.pack import ASSETS
from pinxit.world.plan import Part, ScenePlan, Size
from pinxit.world.scene import Scene
from pinxit.world.vocabulary import lexicon

_TABLE = ASSETS / "famous.tsv"  # id, English, Chinese


@dataclass(frozen=True, slots=True)
class Famous:
    """One sentence in two languages, and what it asks for."""

    name: str
    en: str
    zh: str
    plan: ScenePlan

    def said(self, language: Literal["en", "zh"]) -> str:
        """The sentence."""
        return self.zh if language == "zh" else self.en

    @property
    def expected(self) -> ExpectedScene:
        """What a picture must show: these sentences always tell their place where it is one."""
        place = None if self.plan.place == "white" else self.plan.place
        return replace(expected_of(self.plan), place=place)

    def scene(self, seed: int = 0) -> Scene:
        """A true picture's facts, a pure function of the sentence and the seed."""
        words = lexicon("gallery")
        for attempt in count():
            scene = compose(self.plan, Dice("famous", self.name, seed, attempt), words)
            if scene is not None:
                return scene
        raise AssertionError("unreachable: count() is endless")


def _cube(colour: str, size: Size | None = None) -> Part:
    return Part("cube", "solid", colour, size)


def _sprite(name: str, *outfit: tuple[str, str]) -> Part:
    return Part(name, "sprite", outfit=outfit)


_TUTU = ("", "tutu")
_CLOTHES = (("red", "hat"), ("yellow", "gloves"), ("blue", "shirt"), ("green", "trousers"))

PLANS: dict[str, ScenePlan] = {
    "triangle-clock": ScenePlan("colours", (Part("clock", "made", "green", form="triangle"),)),
    "pentagon-clock": ScenePlan("shaped", (Part("clock", "made", form="pentagon"),)),
    "square-pot": ScenePlan("colours", (Part("flower pot", "made", "yellow", form="square"),)),
    "red-on-green": ScenePlan("on_top", (_cube("red", "small"), _cube("green", "big")), ("on top of",)),
    "red-beside-green": ScenePlan("position", (_cube("red"), _cube("green")), ("left of",)),
    "stack-rgb": ScenePlan("stack", (_cube("red"), _cube("green"), _cube("blue")), ("on top of", "on top of")),
    "red-on-green-on-blue": ScenePlan(
        "stack", (_cube("red"), _cube("green"), _cube("blue")), ("on top of", "on top of")
    ),
    "dressed-penguin": ScenePlan("outfit", (_sprite("penguin", *_CLOTHES),)),
    "avocado-armchair": ScenePlan("shaped", (Part("armchair", "made", form="avocado"),)),
    "harp-snail": ScenePlan("made_of", (Part("snail", "sprite", material="harp"),)),
    "radish-dog": ScenePlan("walking", (_sprite("radish", _TUTU), _sprite("dog")), ("walking",)),
    "carrot-latte": ScenePlan("drinking", (_sprite("carrot", _TUTU), _sprite("cup of coffee")), ("drinking",)),
    "carrot-unicycle": ScenePlan("riding", (_sprite("carrot", _TUTU), _sprite("bicycle")), ("riding",)),
    "sketch-below": ScenePlan("pair", (_sprite("cat"),), lower_style="pencil sketch"),
    "capybara-sunrise": ScenePlan(
        "light", (_sprite("capybara"),), place="meadow", light="sunrise", style="watercolour"
    ),
    "capybara-close": ScenePlan("view", (_sprite("capybara"),), place="meadow", view="close-up"),
    "capybara-mountains": ScenePlan("single_object", (_sprite("capybara"),), place="mountains"),
    "fisheye-house": ScenePlan("view", (_sprite("house"),), view="fisheye"),
    "walnut": ScenePlan("view", (_sprite("walnut"),), view="cross-section"),
    "storefront": ScenePlan("words", (Part("storefront", "made", words="OPENAI"),)),
    "old-telephone": ScenePlan("style", (_sprite("telephone"),), style="old photograph"),
    "fox-unicorn": ScenePlan(
        "style", (_sprite("fox"), _sprite("unicorn")), ("left of",), "snowy forest", style="folded from paper"
    ),
    "horse-astronaut": ScenePlan("riding", (_sprite("horse"), _sprite("astronaut")), ("riding",)),
    "astronaut-horse": ScenePlan(
        "riding", (_sprite("astronaut"), _sprite("horse")), ("riding",), style="pencil sketch"
    ),
    "latte-panda": ScenePlan("making", (_sprite("panda"), _sprite("cup of coffee")), ("making",)),
    "shirt-trousers": ScenePlan("outfit", (_sprite("person", ("blue", "shirt"), ("black", "trousers")),)),
}


@cache
def famous_sentences() -> tuple[Famous, ...]:
    """All of them, in the order of the table."""
    with _TABLE.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return tuple(Famous(row["id"], row["en"], row["zh"], PLANS[row["id"]]) for row in rows)
