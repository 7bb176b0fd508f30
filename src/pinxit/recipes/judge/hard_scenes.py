"""Training data of the gallery's judge: half of it the world as it is, half the tasks that judges find hardest.

A judge measures and is not compared with painters, so it is also trained on the combinations that are held out from
painters and CLIPs. One that has seen an elephant of apples but never one of books takes the books for apples, and
rejects pictures that are right. Its scenes still differ from those of the exams (`SEED`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pinxit.types import Example
from pinxit.world.dice import Dice
from pinxit.world.draw import render
from pinxit.world.scene import Scene
from pinxit.world.tasks import task_scene
from pinxit.world.vocabulary import PresetName
from pinxit.world.world import LENGTH, World

HARD: tuple[tuple[str, float], ...] = (
    *(("shaped", 3.0), ("inside", 2.0), ("behind", 2.0), ("view", 2.0), ("style", 2.0), ("outfit", 2.0)),
    *(("made of", 2.0), ("riding", 1.5), ("stack", 1.0), ("on top", 1.0), ("pair", 1.0), ("walking", 1.0)),
    *(("drinking", 0.7), ("making", 0.7), ("words", 1.0), ("light", 0.7), ("colours", 1.0), ("counting", 1.0)),
)
"""Relative frequencies of the world's tasks in the harder half."""

SEED = 87_079  # of its scenes; exams use small seeds, so they share none


@dataclass(frozen=True)
class Signs:
    """Signs and storefronts only, of the world's train split; item i is a function of the fields and i."""

    preset: PresetName
    size: int
    seed: int
    length: int = LENGTH

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        """Raises IndexError outside 0 .. len - 1."""
        _check(index, self.length)
        return _shown(task_scene(self.preset, "train", "words", self.seed, index), self.size, f"sign {index}")


@dataclass(frozen=True)
class HardScenes:
    """Even items are the world's, odd ones scenes of `HARD` tasks; two of split `train` and two of `unseen` in turn.

    Item i is a function of the fields and i. There are no captions, because judges do not read them.
    """

    preset: PresetName
    size: int
    length: int = LENGTH

    @cached_property
    def _worlds(self) -> tuple[World, World]:
        train, unseen = (World(self.preset, split, size=self.size, seed=SEED) for split in ("train", "unseen"))
        return train, unseen

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        """Raises IndexError outside 0 .. len - 1."""
        _check(index, self.length)
        world = self._worlds[index // 2 % 2]
        if index % 2 == 0:
            scene = world.scene(index)
        else:
            task = Dice("practice", self.preset, index).weighted(HARD)
            scene = task_scene(self.preset, world.split, task, SEED, index)
        return _shown(scene, self.size, f"practice {index}")


def _shown(scene: Scene, size: int, key: str) -> Example:
    return Example(render(scene, size), (), key, scene)


def _check(index: int, length: int) -> None:
    if not 0 <= index < length:
        raise IndexError(f"item {index} of {length}.")
