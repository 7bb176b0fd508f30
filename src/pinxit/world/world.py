"""The built-in picture world as a dataset: `World("small", "train")[i]` is a pure function of its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pinxit.config import to_dict
from pinxit.errors import UsageError
from pinxit.schema import Count, Seed, check_fields
from pinxit.types import Example
from pinxit.world.captions import RICH, Language, captions
from pinxit.world.compose import compose
from pinxit.world.dice import Dice
from pinxit.world.draw import render
from pinxit.world.neighbours import neighbours
from pinxit.world.patterns import draw_pattern, draw_plan
from pinxit.world.scene import Scene
from pinxit.world.splits import Split
from pinxit.world.vocabulary import Names, PresetName, lexicon

LENGTH = 2**31
DETAILED = 0.85  # with `detail`, the share of the captions after the plainest that mention every fact


@dataclass(frozen=True)
class World:
    """Pictures with captions known to be true.

    `group=4` makes items 4k .. 4k + 3 a scene and three neighbours, each of which differs from it in exactly one stated
    fact. `names="many"` gives the same things many more names (`thesaurus.py`).
    Raises UsageError for a preset that does not exist and for a field that is out of its range.
    """

    preset: PresetName = "small"
    split: Split = "train"
    language: Language = "mixed"
    seed: Seed = 0
    size: Count = 64  # pixels, the side of the picture
    group: Literal[1, 4] = 1  # 4: with hard neighbours
    length: Count = LENGTH
    names: Names = "usual"
    detail: bool = False  # captions tell the ground and where things lie; some neighbours differ in these alone

    def __post_init__(self) -> None:
        lexicon(self.preset)
        check_fields(self, "world")
        if self.detail and self.preset == "small":
            raise UsageError("captions of the small world tell no detail: choose gallery or full.")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        scene = self.scene(index)
        return Example(
            picture=render(scene, self.size),
            captions=self.captions(index, scene),
            key=f"world-{self.preset}-{self.split}-{self.seed}-{self.group}-{index:010d}",
            facts=scene,
        )

    def identity(self) -> dict[str, Any]:
        """The values that identify the bank of a world.

        Fields that were added later are left out at their defaults, so that banks of older versions stay valid.
        """
        usual = {name for name, before in (("names", "usual"), ("detail", False)) if getattr(self, name) == before}
        return {"kind": "world"} | {name: value for name, value in to_dict(self).items() if name not in usual}

    def scene(self, index: int) -> Scene:
        """The facts of item `index`, without drawing them. Raises IndexError outside 0 .. len - 1."""
        if not 0 <= index < self.length:
            raise IndexError(f"item {index} of a world of {self.length}.")
        base, member = divmod(index, self.group)
        key = (self.preset, self.split, self.seed, self.group, base)
        return scenes_of(key, self.preset, self.split, group=self.group, detail=self.detail)[member]

    def captions(self, index: int, scene: Scene | None = None) -> tuple[str, ...]:
        """Four captions of item `index`, the plainest first."""
        dice = Dice(self.preset, self.split, self.seed, self.group, index, "captions", self.language)
        words, rich = lexicon(self.preset, self.names), DETAILED if self.detail else RICH
        return captions(scene or self.scene(index), words, self.language, dice, rich)


@lru_cache(maxsize=16)  # the members of a group are asked for one after another
def scenes_of(
    key: tuple[str | int, ...],
    preset: PresetName,
    split: Split,
    pattern: str | None = None,
    group: int = 1,
    detail: bool = False,
) -> tuple[Scene, ...]:
    """The scenes of a key: one, or one and its neighbours; drawn again until all of them can be laid out."""
    words = lexicon(preset)
    dice = Dice(*key)
    chosen = pattern or draw_pattern(dice, words)
    tries = 0
    while True:
        tries += 1
        if pattern is None and tries % 20 == 0:  # few sketches are `unseen`, so some scenes lack enough neighbours
            chosen = draw_pattern(dice, words)
        plan = draw_plan(dice, words, split, chosen)
        base = compose(plan, dice, words)
        if base is None:
            continue
        if group == 1:
            return (base,)
        others = neighbours(base, plan, words, split, dice, group - 1, detail)
        if others is not None:
            return (base, *others)
