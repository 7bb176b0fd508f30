"""Measures of drawn pictures, compared with true renders of the same questions, after Imagen.

Guidance moves pictures towards their sentence (alignment) and, beyond some point, away from what true ones look like
(distance); too much of it drives colours to their limits (saturated). Imagen, sections 2.2, 2.3 and 4.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from pinxit.errors import UsageError
from pinxit.evaluation.evaluators import Detect, by_task, scores
from pinxit.evaluation.geneval import ScorerThresholds, complaints
from pinxit.evaluation.questions import Question, true_picture
from pinxit.evaluation.report import interval
from pinxit.functional.laplace import psnr as psnr_of_error
from pinxit.functional.mmd import cmmd
from pinxit.types import check_pixels
from pinxit.world.tasks import TASKS

if TYPE_CHECKING:
    from torch import Tensor

    from pinxit.types import Picture, Ranked


@dataclass(frozen=True, slots=True)
class Measures:
    """The measures of one setting's pictures."""

    judge: float  # share of right pictures: the mean over GenEval's tasks, or over all prompts if a task is missing
    interval: tuple[float, float]  # its 95 % interval
    tasks: dict[str, float]  # the share of right pictures by task
    alignment: float  # mean cosine of picture and sentence
    distance: float  # CMMD from the true renders
    saturated: float  # share of colour values that are 0 or 255
    sharpness: float  # mean difference of neighbouring pixels, over that of the true renders


@dataclass(frozen=True)
class MeasuringModels:
    """The models that pictures are measured with."""

    detect: Detect
    embed: Callable[[Sequence[Picture]], Tensor]  # -> unit rows [N, E]
    align: Callable[[str, Picture], float]  # cosine of a sentence and a picture


class ReferencePictures:
    """The true renders of an exam's questions at one size, and how pictures compare with them."""

    def __init__(self, asked: Sequence[Question], size: int, instruments: MeasuringModels) -> None:
        self.asked, self.instruments = asked, instruments
        self.pictures = [true_picture(question, size) for question in asked]
        self.embedded, self.contrast = instruments.embed(self.pictures), contrast(self.pictures)

    def measured(self, ranked: Sequence[Ranked]) -> Measures:
        """The measures of one picture for each question, in their order. Raises UsageError for fewer than two."""
        return self._measured([one.picture for one in ranked], [one.score for one in ranked])

    def own_measures(self) -> Measures:
        """The measures of the true renders themselves: what a perfect painter would get."""
        pairs = zip(self.asked, self.pictures, strict=True)
        return self._measured(self.pictures, [self.instruments.align(one.prompt, picture) for one, picture in pairs])

    def _measured(self, pictures: Sequence[Picture], cosines: Sequence[float]) -> Measures:
        judge, tasks = accepted(self.asked, pictures, self.instruments.detect)
        counted = sum(one.task in TASKS for one in self.asked) if set(TASKS) <= tasks.keys() else len(self.asked)
        return Measures(
            judge=judge,
            interval=interval(judge, counted),
            tasks=tasks,
            alignment=fmean(cosines),
            distance=cmmd(self.instruments.embed(pictures), self.embedded),
            saturated=saturated(pictures),
            sharpness=contrast(pictures) / self.contrast,
        )


def accepted(asked: Sequence[Question], pictures: Sequence[Picture], detect: Detect) -> tuple[float, dict[str, float]]:
    """The share of pictures that the judge finds right, overall and by task.

    Overall is the mean over GenEval's tasks, as in every exam; if one of them was not asked, over all pictures.
    """
    rules = ScorerThresholds()
    right = [not complaints(s, q.expected, rules) for s, q in zip(detect(pictures), asked, strict=True)]
    tasks = dict(scores(by_task([one.task for one in asked], right)))
    return tasks.pop("overall", fmean(right)), tasks


def psnr(one: Picture, other: Picture) -> float:
    """Peak signal-to-noise ratio of two pictures of one size, in dB; infinite for equal ones.

    Raises UsageError for what is no picture, and for pictures of two sizes.
    """
    check_pixels(one, other)
    if one.shape != other.shape:
        raise UsageError(f"pictures of {one.shape[:2]} and {other.shape[:2]} pixels cannot be compared: resize one.")
    return psnr_of_error(float(np.square((one.astype(np.float64) - other) / 255).mean()))


def saturated(pictures: Sequence[Picture]) -> float:
    """Share of colour values that are 0 or 255, from 0 to 1. Raises UsageError without pictures or for what is none."""
    _check(pictures)
    return fmean(float(((one == 0) | (one == 255)).mean()) for one in pictures)


def contrast(pictures: Sequence[Picture]) -> float:
    """Mean absolute difference of neighbouring pixels, across and down, in levels of 0 to 255.

    Raises UsageError without pictures, for what is none, and for one that is a single pixel wide or high.
    """
    _check(pictures, 2)
    return fmean(float(np.abs(np.diff(one.astype(np.int16), axis=axis)).mean()) for one in pictures for axis in (0, 1))


def _check(pictures: Sequence[Picture], least: int = 1) -> None:
    check_pixels(*pictures)
    if not len(pictures) or min(min(one.shape[:2]) for one in pictures) < least:
        raise UsageError(f"the measure needs pictures, of at least {least} x {least} pixels.")
