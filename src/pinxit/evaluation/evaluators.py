"""Evaluators yield (name, value): a painter's scores on an exam, a judge's scores on pictures with known content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from pinxit.evaluation.geneval import ScorerThresholds, complaints, overall
from pinxit.evaluation.questions import Exam, Question, true_picture, wrong_picture
from pinxit.functional.boxes import Detections
from pinxit.types import Prompt, Ranked
from pinxit.world.tasks import TASKS

if TYPE_CHECKING:
    from pinxit.types import Picture

PaintPrompts = Callable[[Sequence[str], Sequence[int], int], list[list[Ranked]]]
"""(prompts, seeds, candidates) -> for each prompt all its candidates, best first."""
Rank = Callable[[Prompt, Sequence["Picture"]], list[Ranked]]
"""Ranks candidates 0, 1, 2 ... of a prompt, best first. Needed where scores depend on the other candidates."""
Detect = Callable[[Sequence["Picture"]], Sequence[Detections]]
"""What a judge detects in each picture."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the candidates for one question were judged, in the order in which the painter ranked them."""

    task: str
    prompt: str
    seed: int
    candidates: tuple[int, ...]
    right: tuple[bool, ...]
    complaint: str  # about the first; empty when it is right
    chosen: tuple[int, ...]  # which candidate ranks first among the first n drawn, for every n of `columns`

    def best_of(self, candidates: int) -> bool:
        """Whether the picture that ranks first among the first `candidates` drawn is right; one of `columns`."""
        chosen = self.chosen[columns(len(self.candidates)).index(candidates)]
        return self.right[self.candidates.index(chosen)]

    def any_of(self, candidates: int) -> bool:
        """Whether a perfect ranking of the first `candidates` drawn would have found a right one."""
        return any(right for number, right in zip(self.candidates, self.right, strict=True) if number < candidates)


def answer(
    question: Question, ranked: Sequence[Ranked], detect: Detect, rules: ScorerThresholds, rank: Rank | None = None
) -> Answer:
    """Judge every candidate of one question. `rank` None: a candidate's score does not depend on the others."""
    wrong = [complaints(detections, question.expected, rules) for detections in detect([one.picture for one in ranked])]
    return Answer(
        task=question.task,
        prompt=question.prompt,
        seed=question.seed,
        candidates=tuple(int(one.candidate) for one in ranked),  # of NumPy too: answers are stored as JSON
        right=tuple(not reasons for reasons in wrong),
        complaint="; ".join(wrong[0]),
        chosen=tuple(_first(question, ranked, n, rank) for n in columns(len(ranked))),
    )


def _first(question: Question, ranked: Sequence[Ranked], among: int, rank: Rank | None) -> int:
    """The candidate that ranks first among the first `among` drawn."""
    drawn = [one for one in ranked if one.candidate < among]
    if rank is None or among == len(ranked):
        return int(drawn[0].candidate)
    pictures = [one.picture for one in sorted(drawn, key=lambda one: one.candidate)]
    return int(rank(Prompt(question.prompt, question.seed), pictures)[0].candidate)


def columns(candidates: int) -> list[int]:
    """The numbers of candidates that a report shows: powers of four up to `candidates`, and `candidates` itself."""
    powers = [4**n for n in range(16) if 4**n <= candidates]
    return powers if candidates in powers else [*powers, candidates]


def scores(results: Mapping[str, Sequence[bool]]) -> Iterator[tuple[str, float]]:
    """Each task's share of right pictures, then `overall` when all six of GenEval's tasks are there."""
    for task, right in results.items():
        yield task, fmean(right)
    if all(results.get(task) for task in TASKS):
        yield "overall", overall(results)


def painter_scores(answers: Sequence[Answer], candidates: int) -> Iterator[tuple[str, float]]:
    """Scores "best of n" and, for n > 1, "any of n" (of a perfect ranking): ("best of 4/counting", 0.8), ..."""
    for n in columns(candidates):
        lines = {"best": [one.best_of(n) for one in answers], "any": [one.any_of(n) for one in answers]}
        for line, right in lines.items():
            if n > 1 or line == "best":
                for name, value in scores(by_task([one.task for one in answers], right)):
                    yield f"{line} of {n}/{name}", value


def judge_scores(
    asked: Sequence[Question], exam: Exam, detect: Detect, rules: ScorerThresholds, size: int = 64, batch: int = 64
) -> Iterator[tuple[str, float]]:
    """The judge's own accuracy: the shares of true renders that it accepts and of wrong ones that it rejects.

    The same for renders with artefacts like those of painters: a judge that mistook soft outlines for wrong things
    would judge the drawing and not what is drawn.
    """
    truths = [(question, true_picture(question, size)) for question in asked]
    wrongs = [(question, wrong_picture(question, exam, size)) for question in asked]
    pairs = {"true accepted": truths, "wrong rejected": [(q, p) for q, p in wrongs if p is not None]}
    for line, shown in pairs.items():
        for corrupted in (False, True):
            accepted: list[bool] = []
            for start in range(0, len(shown), batch):
                part = shown[start : start + batch]
                pictures = [picture for _, picture in part]
                detected = detect(patchwork(pictures, start) if corrupted else pictures)
                accepted += [not complaints(s, q.expected, rules) for s, (q, _) in zip(detected, part, strict=True)]
            right = [yes == (line == "true accepted") for yes in accepted]
            for name, value in scores(by_task([q.task for q, _ in shown], right)):
                yield f"{line}{', corrupted' if corrupted else ''}/{name}", value


def patchwork(pictures: Sequence[Picture], seed: int) -> list[Picture]:
    """Pictures as if put together from 12 x 12 patches that do not quite fit, one patch in a hundred replaced."""
    import torch

    from pinxit.data.transforms import to_pictures, to_tensor
    from pinxit.functional.corruption import patched, strewn
    from pinxit.functional.draws import OneStream
    from pinxit.models.torch_defaults import torch_defaults

    with torch_defaults():
        draws, count = OneStream(torch.Generator().manual_seed(seed)), len(pictures)
        x = patched(to_tensor(np.stack(pictures)), torch.full((count,), 1.0), draws, 12)
        return list(to_pictures(strewn(x, torch.full((count,), 0.01), draws, 12)))


def by_task(tasks: Sequence[str], right: Sequence[bool]) -> dict[str, list[bool]]:
    """Answers grouped by task."""
    tasks_right: dict[str, list[bool]] = {}
    for task, one in zip(tasks, right, strict=True):
        tasks_right.setdefault(task, []).append(one)
    return tasks_right
