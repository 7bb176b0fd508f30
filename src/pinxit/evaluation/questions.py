"""The questions of an exam: prompts of the world's tasks, what each expects, a true picture and a wrong one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal

from pinxit.errors import UsageError
from pinxit.schema import LARGEST, Count, Seed, check_fields
from pinxit.world.dice import Dice
from pinxit.world.draw import render
from pinxit.world.expectations import ExpectedScene, demand
from pinxit.world.held_out_nouns import (
    can_be_paraphrased,
    can_be_reworded,
    paraphrased_caption,
    reworded_caption,
)
from pinxit.world.neighbours import neighbours
from pinxit.world.plan import meaning
from pinxit.world.scene import Scene
from pinxit.world.splits import Split
from pinxit.world.tasks import EXTRAS, TASKS, task_prompt, task_scene
from pinxit.world.vocabulary import PresetName, lexicon

if TYPE_CHECKING:
    from pinxit.types import Picture

NEEDED: dict[str, tuple[str, ...]] = {
    "riding": ("outfit",),  # riders may wear something
    "outfit": ("outfit",),
    "words": ("words",),
    "shaped": ("shape",),
    "view": ("view",),
    "light": ("light",),
    "made of": ("material",),
    "walking": ("link", "outfit"),
    "drinking": ("link", "outfit"),
    "making": ("link", "outfit"),
}
"""The attributes (`Detections.attributes`) that a judge must report to judge pictures of a task, besides names,
numbers, colours, flat forms, sizes, styles, grounds and boxes."""
UNNAMED = frozenset({"pair"})  # tasks that cannot be reworded, as their sentences repeat the thing's own name
Words = Literal["plain", "held-out", "in-vocabulary", "paraphrased"]
"""held-out: nouns that no training caption contains; in-vocabulary: the same sentences with the usual nouns, for
comparison; paraphrased: sentences worded as no training caption is."""


@dataclass(frozen=True, slots=True)
class Exam:
    """Which questions are asked. Equal exams ask the same questions on every machine.

    Raises UsageError for a field that is out of its range, and for `words` that the world or a task does not have.
    """

    preset: PresetName = "small"
    split: Split = "unseen"
    prompts: Count = 500  # in all; shared equally by the tasks
    language: Literal["en", "zh"] = "en"
    seed: Seed = 0
    words: Words = "plain"  # others only for the small world, in English
    tasks: tuple[str, ...] = ()  # empty: the six of GenEval and all that the preset adds

    def __post_init__(self) -> None:
        check_fields(self, "exam")
        check_seeds(self.seed, self.prompts)
        if self.words != "plain" and (self.preset != "small" or self.language != "en"):
            raise UsageError(f"{self.words} prompts are known for the English of the small world alone.")
        if self.words != "plain" and UNNAMED & set(self.tasks):
            raise UsageError(f"the task {', '.join(UNNAMED & set(self.tasks))} has no {self.words} prompts.")


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt of an exam."""

    task: str
    seed: int  # the painter's seed
    prompt: str
    scene: Scene  # whose render is a right picture
    expected: ExpectedScene
    key: int  # of random draws for the question, such as its wrong picture


def check_seeds(first: int, count: int) -> None:
    """Raise UsageError unless the seeds `first`, `first` + 1, ... of `count` pictures are ones that painters take."""
    if first + count - 1 > LARGEST:
        raise UsageError(f"seed={first} is too large for {count} seeds from it on: choose one below 2**63 - {count}.")


def judged_by(attributes: frozenset[str], preset: PresetName) -> tuple[str, ...]:
    """The tasks of an exam that a judge with these `attributes` can judge; empty if it can judge all (`Exam.tasks`)."""
    every = (*TASKS, *EXTRAS[preset])
    able = tuple(task for task in every if attributes.issuperset(NEEDED.get(task, ())))
    return () if able == every else able


def questions(exam: Exam) -> list[Question]:
    """The exam's questions, tasks taking turns, so that the first part of an exam is a smaller exam."""
    left_out = frozenset() if exam.words == "plain" else UNNAMED
    tasks = exam.tasks or tuple(task for task in (*TASKS, *EXTRAS[exam.preset]) if task not in left_out)
    asked = {task: _scenes(exam, task) for task in tasks}
    result = []
    for number in range(exam.prompts):
        task = tasks[number % len(tasks)]
        scene = next(asked[task])
        result.append(Question(task, exam.seed + number, _prompt(exam, scene), scene, demand(scene), number))
    return result


def _prompt(exam: Exam, scene: Scene) -> str:
    if exam.words in ("plain", "in-vocabulary"):
        return task_prompt(scene, exam.preset, exam.language)
    return reworded_caption(scene) if exam.words == "held-out" else paraphrased_caption(scene)


def _scenes(exam: Exam, task: str) -> Iterator[Scene]:
    """The scenes of a task in their order, without those that cannot be put into the exam's `words`."""
    can_be = can_be_paraphrased if exam.words == "paraphrased" else can_be_reworded
    for index in count():
        scene = task_scene(exam.preset, exam.split, task, exam.seed, index)
        if exam.words == "plain" or can_be(scene):
            yield scene


def true_picture(question: Question, size: int = 64) -> Picture:
    """A render that shows what the question asks for."""
    return render(question.scene, size)


def wrong_picture(question: Question, exam: Exam, size: int = 64) -> Picture | None:
    """A render that differs from what is asked for in one stated fact; None if the world has no such neighbour."""
    scene = wrong_scene(question, exam)
    return None if scene is None else render(scene, size)


def wrong_scene(question: Question, exam: Exam) -> Scene | None:
    """What `wrong_picture` shows."""
    dice = Dice("exam", exam.preset, exam.split, exam.seed, question.key)
    around = neighbours(question.scene, meaning(question.scene), lexicon(exam.preset), exam.split, dice, 1)
    return around[0] if around else None
