"""Measures of hand-made pictures, whose values can be counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from pinxit.errors import UsageError
from pinxit.evaluation.measures import MeasuringModels, ReferencePictures, accepted, contrast, psnr, saturated
from pinxit.evaluation.questions import true_picture
from pinxit.evaluation.report import interval
from pinxit.functional.boxes import Detections
from pinxit.types import Ranked
from pinxit.world.tasks import TASKS
from tests.evaluation.test_evaluators import ASKED, EXAM, Oracle

GREY = np.full((4, 4, 3), 90, np.uint8)

if TYPE_CHECKING:
    from pinxit.types import Picture


def plain(value: int, size: int = 4) -> Picture:
    return np.full((size, size, 3), value, np.uint8)


def coarse(pictures: Sequence[Picture]) -> torch.Tensor:
    """A stand-in for CLIP: sixteen pixels, of length one."""
    pixels = np.stack([smaller(picture, 4).ravel() for picture in pictures]).astype(np.float64) - 100
    return torch.nn.functional.normalize(torch.from_numpy(pixels), dim=1)


def smaller(picture: Picture, size: int) -> Picture:
    step = len(picture) // size
    found: Picture = picture[::step, ::step]
    return found


ORACLE = Oracle(ASKED, EXAM)
INSTRUMENTS = MeasuringModels(
    lambda pictures: ORACLE([np.ascontiguousarray(smaller(one, 64)) for one in pictures]),
    coarse,
    lambda prompt, picture: len(prompt) / 100,
)


def test_psnr_is_that_of_the_mean_squared_error() -> None:
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert psnr(black, grey) == psnr(grey, black) == pytest.approx(-10 * np.log10(0.04))
    assert psnr(grey, grey) == np.inf


def test_saturated_counts_both_ends_of_every_colour() -> None:
    assert saturated([plain(0), plain(255)]) == 1.0
    assert saturated([plain(1), plain(254)]) == 0.0
    half = plain(7)
    half[:, :, 0], half[0, 0, 1] = 255, 0
    assert saturated([half]) == pytest.approx((16 + 1) / 48)


def test_contrast_is_the_mean_step_between_neighbours() -> None:
    assert contrast([plain(9)]) == 0.0
    stripes = plain(0)
    stripes[::2] = 200
    assert contrast([stripes]) == pytest.approx((200 + 0) / 2), "every step down, none across"
    ramp = np.arange(4, dtype=np.uint8)[None, :, None].repeat(4, 0).repeat(3, 2)
    assert contrast([ramp]) == 0.5 and contrast([255 - ramp]) == 0.5, "steps down are no overflow"
    assert contrast([stripes, plain(9)]) == pytest.approx(50)


def test_true_renders_are_the_measure_of_all_things() -> None:
    found = ReferencePictures(ASKED, 64, INSTRUMENTS).own_measures()
    assert found.judge == 1.0 and set(found.tasks.values()) == {1.0}
    assert found.distance == 0.0 and found.sharpness == 1.0
    assert found.interval == pytest.approx(interval(1.0, sum(one.task in TASKS for one in ASKED)))
    assert found.alignment == pytest.approx(fmean(len(one.prompt) for one in ASKED) / 100)
    assert found.saturated == pytest.approx(saturated([true_picture(one) for one in ASKED]))


def test_worse_pictures_measure_worse() -> None:
    truth = ReferencePictures(ASKED, 64, INSTRUMENTS)
    gray = [Ranked(plain(128, 64), one.seed, 0, 0.25) for one in ASKED]
    found = truth.measured(gray)
    assert found.alignment == 0.25 and found.sharpness == 0.0 and found.saturated == 0.0 and found.distance > 0.1
    harsh = [Ranked((true_picture(one) // 128 * 255).astype(np.uint8), one.seed, 0, 0.5) for one in ASKED]
    assert truth.measured(harsh).saturated == 1.0 and truth.measured(harsh).sharpness > 1.05


def test_the_judges_share_is_the_mean_over_tasks_where_all_were_asked() -> None:
    pictures = [true_picture(one) for one in ASKED]
    some = ASKED[:13]  # the first task twice
    blind_to_the_first = [Detections(()), *INSTRUMENTS.detect(pictures[1:13])]
    share, tasks = accepted(some, pictures[:13], lambda shown: blind_to_the_first)
    assert tasks[some[0].task] == 0.5 and share == pytest.approx((5 + 0.5) / 6)
    share, tasks = accepted(some[:4], pictures[:4], lambda shown: blind_to_the_first[:4])
    assert share == 0.75 and "overall" not in tasks


@pytest.mark.parametrize(
    ("measure", "pictures", "message"),
    [
        (psnr, (GREY, GREY[:1]), "pictures of (4, 4) and (1, 4) pixels"),  # broadcast to a number that was wrong
        (psnr, (GREY, GREY / 255), "not float64 [4, 4, 3]"),
        (saturated, ([],), "needs pictures"),
        (saturated, ([GREY / 255],), "not float64 [4, 4, 3]"),
        (contrast, ([GREY[:1]],), "of at least 2 x 2 pixels"),
    ],
)
def test_what_cannot_be_measured_is_refused(measure: Any, pictures: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        measure(*pictures)
