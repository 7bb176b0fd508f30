"""An invocation that is interrupted goes on where it stopped, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinxit.errors import DataError, UsageError
from pinxit.evaluation.exam_run import CHUNK, ExamProgress, run_exam
from pinxit.evaluation.geneval import ScorerThresholds
from pinxit.evaluation.partial_results import DIGEST, to_text
from pinxit.types import Ranked
from tests.evaluation.test_evaluators import ASKED, EXAM, Oracle, exact_pictures

LOOK = Oracle(ASKED, EXAM)
EXACT = exact_pictures(ASKED)


def test_interrupted_and_resumed_equals_straight_through(tmp_path: Path) -> None:
    part = tmp_path / "report.json.part"
    painted: list[int] = []

    def paint(prompts: Sequence[str], seeds: Sequence[int], candidates: int) -> list[list[Ranked]]:
        if len(painted) == CHUNK:
            raise KeyboardInterrupt
        painted.extend(seeds)
        return EXACT(prompts, seeds, candidates)

    def attempt() -> ExamProgress:
        return run_exam(ASKED, paint, 1, LOOK, ScorerThresholds(), shown=10, part=part, identity={"painter": "x"})

    with pytest.raises(KeyboardInterrupt):
        attempt()
    painted.append(-1)  # the power is back
    seen: list[int] = []
    resumed = run_exam(
        ASKED, paint, 1, LOOK, ScorerThresholds(), shown=10, part=part, identity={"painter": "x"}, watch=seen.append
    )
    assert painted == [*(q.seed for q in ASKED[:CHUNK]), -1, *(q.seed for q in ASKED[CHUNK:])]
    assert seen[0] == CHUNK and seen[-1] == len(ASKED)
    straight = run_exam(ASKED, EXACT, 1, LOOK, ScorerThresholds(), shown=10)
    assert resumed.answers == straight.answers and len(resumed.pictures) == 10
    assert all(np.array_equal(a, b) for a, b in zip(resumed.pictures, straight.pictures, strict=True))


def test_somebody_elses_half_exam_is_refused_and_so_is_a_damaged_one(tmp_path: Path) -> None:
    part = tmp_path / "part"
    run_exam(ASKED[:8], EXACT, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})
    with pytest.raises(UsageError, match="other settings"):
        run_exam(ASKED, EXACT, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "y"})
    others = [replace(ASKED[0], prompt="as an older version put it"), *ASKED[1:]]
    with pytest.raises(
        UsageError, match=r"part holds half of an exam with other questions, .* choose another --out\.$"
    ):
        run_exam(others, EXACT, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})
    for asked, candidates, told in ((ASKED[:7], 1, "other questions, "), (ASKED, 2, "other candidates, ")):
        with pytest.raises(UsageError, match=told):
            run_exam(asked, EXACT, candidates, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})
    reseeded = [replace(ASKED[0], seed=ASKED[0].seed + 1), *ASKED[1:]]
    with pytest.raises(UsageError, match="other questions, "):
        run_exam(reseeded, EXACT, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})
    kept = part.read_text(encoding="utf-8")
    part.write_text(kept.replace("true", "false", 1), encoding="utf-8")
    with pytest.raises(DataError, match=r"part is damaged: it is not as it was written; remove it to start"):
        run_exam(ASKED, EXACT, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})
    without_digest = {name: value for name, value in json.loads(kept).items() if name != DIGEST}
    for name, value in (("right", []), ("chosen", []), ("chosen", [7])):
        one = without_digest["answers"][0] | {name: value}
        part.write_text(json.dumps(without_digest | {"answers": [one]}), encoding="utf-8")
        with pytest.raises(DataError, match=r"part is damaged \(the answer to '.*' is not of its candidates\)"):
            run_exam(ASKED, EXACT, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})
    broken = to_text(np.zeros((2, 2, 3), np.uint8)).replace("C0lE", "A0lE")  # the name of a chunk
    text = json.dumps({"identity": {"painter": "x"}, "answers": [], "pictures": [broken]})
    part.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"part is damaged \(broken PNG file.*\); remove it to start the exam again\."):
        run_exam(ASKED, EXACT, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})
    part.write_text('{"answers": [', encoding="utf-8")
    with pytest.raises(DataError, match=r"not readable JSON .*; remove it to start the exam again"):
        run_exam(ASKED, EXACT, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})


def test_numbers_of_numpy_and_paths_can_be_stored_and_what_cannot_is_told_before_it_is_painted(tmp_path: Path) -> None:
    """Once the first prompts were painted, and lost as their answers could not be written."""
    calls: list[int] = []

    def paint(prompts: Sequence[str], seeds: Sequence[int], candidates: int) -> list[list[Ranked]]:
        calls.append(candidates)
        number: Any = np.int64
        return [[replace(one, candidate=number(one.candidate)) for one in row] for row in EXACT(prompts, seeds, 1)]

    identity = {"steps": np.int64(4), "from": tmp_path}
    for _ in range(2):
        done = run_exam(ASKED[:2], paint, 1, LOOK, ScorerThresholds(), part=str(tmp_path / "part"), identity=identity)
        assert [one.candidates for one in done.answers] == [(0,)] * 2 and calls == [1]
    for candidates, about, told in ((1, {"by": object()}, "object .* cannot be stored"), (0, {}, "at least 1, not 0")):
        with pytest.raises(UsageError, match=told):
            run_exam(ASKED[:2], paint, candidates, LOOK, ScorerThresholds(), part=tmp_path / "new", identity=about)
    assert calls == [1]


@pytest.mark.parametrize("shown", [0, 2])
def test_a_sheet_of_an_exam_partly_painted_without_is_refused_before_anything_is_painted(
    tmp_path: Path, shown: int
) -> None:
    """As is one that would lack pictures because --sheet was left out of a resumed exam."""
    part = tmp_path / "report.json.part"
    run_exam(ASKED[:2], EXACT, 1, LOOK, ScorerThresholds(), shown=shown, part=part, identity={"painter": "x"})
    run_exam(ASKED[:CHUNK], EXACT, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})
    before, painted = part.read_bytes(), list[int]()

    def paint(prompts: Sequence[str], seeds: Sequence[int], candidates: int) -> list[list[Ranked]]:
        painted.extend(seeds)
        return EXACT(prompts, seeds, candidates)

    with pytest.raises(UsageError, match=r"report\.json\.part was painted without --sheet: leave it out"):
        run_exam(ASKED, paint, 1, LOOK, ScorerThresholds(), shown=shown + 1, part=part, identity={"painter": "x"})
    assert not painted and part.read_bytes() == before
    rest = run_exam(ASKED, paint, 1, LOOK, ScorerThresholds(), part=part, identity={"painter": "x"})
    assert len(rest.answers) == len(ASKED) and len(painted) == len(ASKED) - CHUNK
