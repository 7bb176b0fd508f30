"""The exam `famous`: the sentences that made text-to-image famous, each painted for several seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from pinxit.errors import UsageError
from pinxit.evaluation.evaluators import Answer, Detect, by_task, columns
from pinxit.evaluation.geneval import ScorerThresholds, complaints, needs
from pinxit.evaluation.questions import Question, check_seeds, true_picture
from pinxit.evaluation.report import ScoreTable
from pinxit.schema import Count, Seed, check_fields
from pinxit.world.famous import famous_sentences

OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class FamousExam:
    """Which questions are asked. Equal exams ask the same questions on every machine.

    Raises UsageError for a field that is out of its range.
    """

    seeds: Count = 4  # how many times each sentence is asked, with the painter's seeds seed, seed + 1, ...
    language: Literal["en", "zh"] = "en"
    seed: Seed = 0
    world: str = "famous"  # distinguishes reports of this exam from those of a world's

    def __post_init__(self) -> None:
        check_fields(self, "exam")
        check_seeds(self.seed, self.seeds)


def famous_questions(exam: FamousExam) -> list[Question]:
    """Every sentence for every seed, a sentence's seeds together; a question's task is the sentence's name."""
    return [
        Question(one.name, seed, one.said(exam.language), one.scene(seed), one.expected, seed)
        for one in famous_sentences()
        for seed in range(exam.seed, exam.seed + exam.seeds)
    ]


def check_judge(asked: Sequence[Question], attributes: frozenset[str]) -> None:
    """Raise UsageError if a judge with these attributes cannot check all sentences."""
    lacking = frozenset[str]().union(*(needs(one.expected) for one in asked)) - attributes
    if lacking:
        raise UsageError(
            f"this judge does not report {', '.join(sorted(lacking))}, which the famous sentences ask for: "
            "take one trained on world:gallery."
        )


def famous_scores(answers: Sequence[Answer], candidates: int) -> ScoreTable:
    """For each sentence, and for all of them together, the share of seeds whose picture is right.

    Lines are sentences, columns are "best of 1", "any of 4", ...
    """
    names = list(dict.fromkeys(one.task for one in answers))
    rows = {name: [one for one in answers if one.task == name] for name in names} | {OVERALL: list(answers)}
    return {name: dict(_shares(row, candidates)) for name, row in rows.items() if row}


def _shares(answers: Sequence[Answer], candidates: int) -> Iterator[tuple[str, float]]:
    for n in columns(candidates):
        yield f"best of {n}", fmean(one.best_of(n) for one in answers)
    if candidates > 1:
        yield f"any of {candidates}", fmean(one.any_of(candidates) for one in answers)


def judge_on_famous(
    asked: Sequence[Question], detect: Detect, rules: ScorerThresholds, size: int = 64
) -> dict[str, float]:
    """The share of true renders that the judge accepts, for each sentence and overall."""
    detected = detect([true_picture(question, size) for question in asked])
    right = [not complaints(found, one.expected, rules) for found, one in zip(detected, asked, strict=True)]
    rows = by_task([one.task for one in asked], right) | {OVERALL: right}
    return {name: fmean(row) for name, row in rows.items()}
