"""The tasks of the judge: the six of GenEval (Ghosh et al. 2023, section 3) and what this world adds to them.

`task_scene` draws a scene of one task, `plain_caption` is its prompt, `demand` says what must be in the picture.
"""

from __future__ import annotations

from typing import Literal

from pinxit.errors import UsageError
from pinxit.world.captions import plain_caption
from pinxit.world.scene import Scene
from pinxit.world.splits import SPLITS, Split
from pinxit.world.vocabulary import PresetName, lexicon
from pinxit.world.world import scenes_of

TASKS: tuple[str, ...] = (
    "single object",
    "two objects",
    "counting",
    "colours",
    "position",
    "colour attribution",
)
_FULL = (
    *("on top", "pair", "style", "stack", "inside", "behind", "riding"),
    *("outfit", "words", "shaped", "view", "light"),
)
EXTRAS: dict[PresetName, tuple[str, ...]] = {
    "small": ("on top", "sketch", "pair"),
    "gallery": (*_FULL, "made of", "walking", "drinking", "making"),
    "full": _FULL,
}


def task_scene(preset: PresetName, split: Split, task: str, seed: int, index: int) -> Scene:
    """Scene `index` of a task, a pure function of the arguments. Raises UsageError for an unknown task or split."""
    if split not in SPLITS:
        raise UsageError(f"a world has no split '{split}'; choose from {', '.join(SPLITS)}.")
    lexicon(preset)
    known = (*TASKS, *EXTRAS[preset])
    if task not in known:
        raise UsageError(f"the {preset} world has no task '{task}'; choose from {', '.join(known)}.")
    return scenes_of(("task", preset, split, seed, task, index), preset, split, pattern=task.replace(" ", "_"))[0]


def task_prompt(scene: Scene, preset: PresetName = "small", language: Literal["en", "zh"] = "en") -> str:
    """What a painter is asked for: the scene's plainest caption."""
    return plain_caption(scene, lexicon(preset), language)
