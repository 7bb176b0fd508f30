"""A sweep with a stand-in painter: order, what is painted how often, resuming, and what is made of the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pinxit.errors import UsageError
from pinxit.evaluation.measures import ReferencePictures
from pinxit.evaluation.questions import Question, true_picture
from pinxit.evaluation.sweep import SHOWN, SweepPainter, Trial, Watch, as_row, sweep
from pinxit.evaluation.sweep_report import cells, plot_of, sheet_of
from pinxit.evaluation.variations import Settings, combinations
from pinxit.types import Ranked
from tests.evaluation.test_evaluators import ASKED
from tests.evaluation.test_measures import INSTRUMENTS

if TYPE_CHECKING:
    from pinxit.types import Picture

TRUTH = ReferencePictures(ASKED, 64, INSTRUMENTS)
VARIED = {"gain": [1, 2, 4], "shift": [0, 30]}
PLANNED = combinations(VARIED, {})


class Stand:
    """Paints true pictures with their colours multiplied and shifted, and counts how often it is asked."""

    def __init__(self, stop_after: int = 99) -> None:
        self.calls: list[Settings] = []
        self.stop_after = stop_after

    def __call__(self, asked: Sequence[Question], settings: Settings, watch: Watch) -> list[Ranked]:
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        self.calls.append(settings)
        watch(0.5)
        return [Ranked(self.picture(one, settings), one.seed, 0, 0.1 * settings["gain"]) for one in asked]

    def picture(self, question: Question, settings: Settings) -> Picture:
        raw = (true_picture(question).astype(int) - 128) * settings["gain"] + 128 + settings.get("shift", 0)
        found: Picture = raw.clip(0, 255).astype(np.uint8)
        return found


def without_time(tried: Sequence[Trial]) -> list[Trial]:
    return [replace(one, seconds=0.0) for one in tried]


@pytest.fixture(scope="module")
def whole() -> list[Trial]:
    return sweep(ASKED, PLANNED, SweepPainter(Stand(), {}), TRUTH)


def test_every_combination_is_tried_in_order(whole: list[Trial]) -> None:
    assert [one.settings for one in whole] == PLANNED
    assert whole[0].measures.distance == 0.0 and whole[0].measures.judge == 1.0
    shares = [one.measures.saturated for one in whole[::2]]
    assert shares == sorted(shares) and shares[-1] > shares[0]
    assert [round(one.measures.alignment, 6) for one in whole] == [0.1, 0.1, 0.2, 0.2, 0.4, 0.4]
    assert all(len(one.pictures) == SHOWN and one.seconds > 0 and one.evaluations is None for one in whole)


def test_interrupted_and_resumed_equals_straight_through(whole: list[Trial], tmp_path: Path) -> None:
    part, stand, again, seen = tmp_path / "out.json.part", Stand(stop_after=2), Stand(), []
    with pytest.raises(KeyboardInterrupt):
        sweep(ASKED, PLANNED, SweepPainter(stand, {}), TRUTH, part=part, identity={"painter": "x"})
    resumed = sweep(
        ASKED,
        PLANNED,
        SweepPainter(again, {}),
        TRUTH,
        part=part,
        identity={"painter": "x"},
        watch=lambda n: seen.append(n),
    )
    assert stand.calls == PLANNED[:2] and again.calls == PLANNED[2:]
    assert seen == [1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6]
    assert without_time(resumed) == without_time(whole)
    for one, other in zip(resumed, whole, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.pictures, other.pictures, strict=True))


def test_what_is_kept_serves_a_longer_sweep_but_nobody_elses(tmp_path: Path) -> None:
    part, stand = tmp_path / "part", Stand()
    sweep(ASKED, PLANNED[:2], SweepPainter(Stand(), {}), TRUTH, part=part, identity={"painter": "x"})
    sweep(ASKED, PLANNED[::-1][3:], SweepPainter(stand, {}), TRUTH, part=part, identity={"painter": "x"})
    assert stand.calls == [PLANNED[2]]
    with pytest.raises(UsageError, match="other settings"):
        sweep(ASKED, PLANNED, SweepPainter(stand, {}), TRUTH, part=part, identity={"painter": "y"})
    for change in ({"seed": 9}, {"prompt": "a cat"}, {"expected": ASKED[1].expected}):
        other = [replace(ASKED[0], **change), *ASKED[1:]]
        with pytest.raises(UsageError, match="other settings"):
            sweep(other, PLANNED, SweepPainter(stand, {}), TRUTH, part=part, identity={"painter": "x"})


def test_settings_of_numpy_and_tuples_are_kept_and_what_cannot_be_is_told_at_once(tmp_path: Path) -> None:
    """As of np.arange; once the first one was painted, and lost as it could not be written."""
    part, stand = str(tmp_path / "part"), Stand()
    planned = combinations({"gain": np.arange(1, 3), "box": [(1, 2)]}, {})  # type: ignore[dict-item]
    painter = SweepPainter(stand, {}, enlarge=lambda question, one, settings: one)
    for _ in range(2):
        assert len(sweep(ASKED, planned, painter, TRUTH, part=part)) == len(stand.calls) == 2
    with pytest.raises(UsageError, match="cannot be stored beside unfinished work"):
        sweep(ASKED, [{"gain": 4}, {"gain": object()}], painter, TRUTH, part=part)
    assert len(stand.calls) == 2


def test_small_pictures_are_painted_once_and_enlarged_for_every_setting() -> None:
    stand, enlarged = Stand(), []

    def enlarge(question: Question, one: Ranked, settings: Settings) -> Ranked:
        enlarged.append((question.seed, one.seed, settings["noise"]))
        return replace(one, picture=one.picture.repeat(2, 0).repeat(2, 1), score=settings["noise"])

    own = {"sampler": "heun", "steps": 5, "upsampler_sampler": "ddim", "upsampler_steps": 3}
    painter = SweepPainter(stand, own, enlarge, frozenset({"noise", "upsampler_steps"}))
    planned = combinations({"gain": [1, 2], "noise": [0.1, 0.2]}, {"upsampler_steps": 7})
    seen: list[float] = []
    found = sweep(ASKED, planned, painter, ReferencePictures(ASKED, 128, INSTRUMENTS), watch=seen.append)
    assert stand.calls == [{"gain": 1}, {"gain": 2}]
    assert len(enlarged) == 4 * len(ASKED) and all(asked == drawn for asked, drawn, _ in enlarged)
    assert [one.measures.alignment for one in found] == pytest.approx([0.1, 0.2, 0.1, 0.2])
    assert {(one.evaluations, one.upsampler_evaluations) for one in found} == {(9, 7)}
    assert found[0].pictures[0].shape == (128, 128, 3) and 0 < found[0].measures.sharpness < 1.1
    assert seen == sorted(seen) and seen[-1] == 4


def test_a_spacing_of_its_own_leaves_the_steps_unknown() -> None:
    painter = SweepPainter(Stand(), {"sampler": "ddim", "steps": 5, "spacing": ""})
    assert painter.costs({}) == (5, None) and painter.costs({"spacing": "smart50"}) == (None, None)


def test_the_table_has_a_row_a_combination_and_one_of_true_renders(whole: list[Trial]) -> None:
    headings, rows = cells(whole, TRUTH.own_measures(), list(VARIED))
    assert (
        headings[:3] == ["gain", "shift", "judge"] and len(rows) == 7 and {len(row) for row in rows} == {len(headings)}
    )
    assert rows[0][:2] == ["1", "0"] and rows[0][2] == "1.000" and rows[0][headings.index("evaluations")] == "–"
    assert rows[-1][0] == "true renders" and rows[-1][headings.index("sharpness")] == "1.000"
    both = replace(whole[0], evaluations=25, upsampler_evaluations=10)
    assert cells([both], TRUTH.own_measures(), list(VARIED))[1][0][-2] == "25 + 10"


def test_a_row_is_ready_for_json_and_flat(whole: list[Trial]) -> None:
    row = as_row(whole[1])
    assert row["settings"] == {"gain": 1, "shift": 30} and "pictures" not in row
    assert {"judge", "interval", "alignment", "distance", "saturated", "sharpness", "seconds"} <= row.keys()


def test_the_plot_shows_every_line_whatever_is_varied(whole: list[Trial]) -> None:
    plots = [plot_of("t", whole, TRUTH.own_measures(), VARIED)]
    words = [replace(one, settings={"gain": "abcdef"[one.settings["gain"]], "shift": 0}) for one in whole[::2]]
    plots.append(plot_of("t", words, TRUTH.own_measures(), {"gain": ["b", "c", "e"]}))
    for picture in plots:
        left, right = np.array_split(picture[60:-70, :], 2, axis=1)
        for half in (left, right):
            assert (half < 200).any(axis=2).mean() > 0.005, "a panel is all but blank"
    assert plots[0].shape[0] > plots[1].shape[0], "only several lines need a legend"


def test_the_sheet_has_a_row_a_combination(whole: list[Trial]) -> None:
    full, two = (sheet_of(some, list(VARIED), ASKED) for some in (whole, whole[:2]))
    assert full.shape[1] == two.shape[1] and full.shape[0] - two.shape[0] == 4 * (3 * 64 + 12)
