"""What a painter is asked: the prompts of the world's tasks, what each wants, its true picture and a wrong one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pinxit.data.world.demands import Demand, demand
from pinxit.data.world.dice import Dice
from pinxit.data.world.draw import render
from pinxit.data.world.neighbours import neighbours
from pinxit.data.world.plan import meaning
from pinxit.data.world.scene import Scene
from pinxit.data.world.splits import Split
from pinxit.data.world.tasks import EXTRAS, TASKS, task_prompt, task_scene
from pinxit.data.world.vocabulary import PresetName, lexicon
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.types import Picture

UNJUDGED = frozenset({"outfit", "words", "shaped", "view", "light"})
"""Tasks of the full world whose pictures no judge of ours can tell right from wrong yet."""


@dataclass(frozen=True, slots=True)
class Exam:
    """Which questions are asked. Equal exams ask the same questions on every machine."""

    preset: PresetName = "small"
    split: Split = "unseen"
    prompts: int = 500  # in all; shared equally by the tasks
    language: Literal["en", "zh"] = "en"
    seed: int = 0
    tasks: tuple[str, ...] = ()  # empty: the six of GenEval, and of what the preset adds all that can be judged

    def __post_init__(self) -> None:
        if self.prompts < 1:
            raise UsageError(f"an exam needs at least one prompt, not {self.prompts}.")


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt of an exam."""

    task: str
    seed: int  # the painter's seed
    prompt: str
    scene: Scene  # a picture that would be right
    wanted: Demand
    key: int  # of what is drawn for it besides


def questions(exam: Exam) -> list[Question]:
    """The exam's prompts, task by task in turn, so that a part of an exam is a smaller exam."""
    tasks = exam.tasks or tuple(task for task in (*TASKS, *EXTRAS[exam.preset]) if task not in UNJUDGED)
    found = []
    for number in range(exam.prompts):
        index, place = divmod(number, len(tasks))
        scene = task_scene(exam.preset, exam.split, tasks[place], exam.seed, index)
        prompt = task_prompt(scene, exam.preset, exam.language)
        found.append(Question(tasks[place], exam.seed + number, prompt, scene, demand(scene), number))
    return found


def true_picture(question: Question, size: int = 64) -> Picture:
    """A render that shows what the question asks for."""
    return render(question.scene, size)


def wrong_picture(question: Question, exam: Exam, size: int = 64) -> Picture | None:
    """A render that differs from what was asked for in one told fact; None where the world has no such neighbour."""
    dice = Dice("exam", exam.preset, exam.split, exam.seed, question.key)
    around = neighbours(question.scene, meaning(question.scene), lexicon(exam.preset), exam.split, dice, 1)
    return render(around[0], size) if around else None
