"""`pinxit eval world` from outside: table, report, sheet, refusals; the painter is a stand-in, the judge a real one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from typer.testing import CliRunner

from pinxit.cli.eval import app
from pinxit.cli.eval.world import _intervals
from pinxit.errors import PinxitError, UsageError
from pinxit.evaluation.questions import Exam, questions, wrong_picture
from pinxit.evaluation.report import interval
from pinxit.functional.boxes import Detections
from pinxit.models.detector import Detector
from pinxit.recipes.diffusion.config import SamplingConfig
from pinxit.recipes.painting import Painter
from pinxit.types import Prompt, Ranked
from pinxit.weights.checkpoint import Part, save_checkpoint
from pinxit.world.tasks import TASKS
from tests.evaluation.test_evaluators import Oracle, exact_pictures
from tests.recipes.test_judge import TINY

if TYPE_CHECKING:
    from pinxit.types import Picture

EXAM = Exam(prompts=12)


class Exact:
    """Paints the truth, once for every candidate."""

    provenance = {"checkpoint": "exact", "hash": "0123456789ab"}  # noqa: RUF012  never changed
    defaults = {"guidance": 1.0, "steps": 25}  # noqa: RUF012
    kinds, settled = SamplingConfig, Painter.settled

    def paint_many(self, asked: list[tuple[str, int]], candidates: int, keep: None) -> list[list[Ranked]]:
        paint = exact_pictures(questions(EXAM))
        painted = paint([prompt for prompt, _ in asked], [seed for _, seed in asked], candidates)
        return [[Ranked(one[0].picture, one[0].seed, c, 1 / (1 + c)) for c in range(candidates)] for one in painted]

    def unknown_words(self, text: str) -> list[str]:
        return []

    def rank(self, prompt: Prompt, pictures: Sequence[Picture]) -> list[Ranked]:
        return [Ranked(one, prompt.seed, k, 1 / (1 + k)) for k, one in enumerate(pictures)]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("judge")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = Detector(TINY).state_dict()
    save_checkpoint(folder, "judge", {"detector": Part(TINY, state)}, settings={"world": "small"})
    return str(folder)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["world", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_report_table_and_sheet(judge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinxit.api.load", lambda checkpoint, device: Exact())
    out, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    text = run("--prompts", "12", "--candidates", "4", "--judge", judge, "--out", str(out), "--sheet", str(sheet))
    report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    judged = [
        f"judge: {line}{corrupted}" for line in ("true accepted", "wrong rejected") for corrupted in ("", ", corrupted")
    ]
    expected = ["best of 1", "best of 4", "any of 4", *judged]
    assert list(report["scores"]) == expected and all(line in text for line in expected)
    assert report["scores"]["judge: true accepted"]["overall"] == 0.0  # it has learned nothing, and that is seen
    assert report["painter"]["hash"] == "0123456789ab" and len(report["judge"]["hash"]) == 12
    assert len(report["answers"]) == 12 and report["answers"][0]["candidates"] == [0, 1, 2, 3]
    assert report["exam"]["split"] == "unseen" and report["machine"]["device"] and report["date"][:2] == "20"
    assert report["intervals"]["best of 4"]["overall"][0] == 0.0
    assert sheet.is_file() and not (tmp_path / "report.json.part").exists()


def test_half_an_exam_of_another_machine_or_version_is_not_gone_on_with(
    judge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report would name one origin for all of its figures."""
    painter, out = Exact(), tmp_path / "report.json"
    paint, halves = painter.paint_many, iter([True, False])

    def stop(*asked: Any, **more: Any) -> list[list[Ranked]]:
        if not next(halves, True):
            raise PinxitError("stopped")
        return paint(*asked, **more)

    monkeypatch.setattr(painter, "paint_many", stop)
    monkeypatch.setattr("pinxit.api.load", lambda checkpoint, device: painter)
    asked = ("--prompts", "12", "--candidates", "1", "--judge", judge, "--out", str(out))
    with pytest.raises(PinxitError, match="stopped"):
        run(*asked)
    for place, value in (("pinxit.training.machine.machine", lambda device: {}), ("pinxit.__version__", "0")):
        with monkeypatch.context() as patch, pytest.raises(UsageError, match="half of an exam with other settings"):
            patch.setattr(place, value)
            run(*asked)
    shown: list[bool] = []
    monkeypatch.setattr("pinxit.cli.eval.report.print_rich", lambda *_: shown.append(out.is_file()))
    run(*asked)
    assert shown == [True]  # the terminal may be gone, but not the report


def test_the_judge_alone(judge: str) -> None:
    text = run("--judge-only", "--prompts", "6", "--judge", judge)
    assert "judge: true accepted" in text and "best of" not in text


def test_the_judge_alone_leaves_a_painters_half_exam_as_it_is(judge: str, tmp_path: Path) -> None:
    out, part = tmp_path / "report.json", tmp_path / "report.json.part"
    part.write_text("hours of work", encoding="utf-8")
    run("--judge-only", "--prompts", "6", "--judge", judge, "--out", str(out))
    assert part.read_text(encoding="utf-8") == "hours of work"
    assert "candidates" not in json.loads(out.read_text(encoding="utf-8")), "nothing was painted"


@pytest.mark.parametrize(
    "words",
    [
        ("--sheet", "s.png"),
        ("--set", "guidance=2"),
        ("--checkpoint", "tiny"),
        ("--candidates", "16"),
        ("--checkpoint", "none", "--sheet", "s.png"),
    ],
)
def test_the_judge_alone_takes_no_options_of_painting(judge: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=f"--judge-only paints nothing: leave out {' and '.join(words[::2])}."):
        CliRunner().invoke(app, ["world", "--judge-only", "--judge", judge, *words], catch_exceptions=False)


def test_bad_requests_are_one_sentence(judge: str, tmp_path: Path) -> None:
    def refuse(kind: type[PinxitError], match: str, *arguments: str) -> None:
        with pytest.raises(kind, match=match):
            CliRunner().invoke(app, ["world", *arguments], catch_exceptions=False)

    refuse(PinxitError, "there is no checkpoint", "--judge", str(tmp_path / "none"))
    refuse(UsageError, "split must be one of", "--judge", judge, "--split", "train-ish")
    refuse(UsageError, "language must be one of", "--judge", judge, "--language", "fr")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("guidance=abc", "guidance must be a number, not 'abc'."),
        ("guidance=NaN", "guidance must be at least 0 and finite, not nan."),
        ("steps=2.5", "steps must be a whole number, not 2.5."),
        ("augmentation=0.1", "augmentation is a setting of the upsampler"),
        ("magic=1", "there is no setting 'magic' here: choose from guidance, steps."),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_painted(
    judge: str, monkeypatch: pytest.MonkeyPatch, change: str, told: str
) -> None:
    monkeypatch.setattr("pinxit.api.load", lambda checkpoint, device: Exact())
    with pytest.raises(UsageError, match=told):
        CliRunner().invoke(app, ["world", "--judge", judge, "--set", change], catch_exceptions=False)


def test_a_judge_is_believed_from_the_scorers_threshold_on_and_intervals_are_wilsons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees every picture rightly, but is half sure at most."""
    oracle, out = Oracle(questions(EXAM), EXAM), tmp_path / "report.json"

    def detect(pictures: Sequence[Picture]) -> list[Detections]:
        detected = oracle(pictures)
        return [replace(one, found=tuple(replace(d, score=d.score / 2) for d in one.found)) for one in detected]

    detector = SimpleNamespace(config=SimpleNamespace(size=64))
    half_sure = SimpleNamespace(
        world="small", attributes=frozenset(), hash="", device="cpu", detect=detect, detector=detector
    )
    monkeypatch.setattr("pinxit.recipes.judge.judge.Judge.open", lambda name, device: half_sure)
    run("--judge-only", "--prompts", "12", "--out", str(out))
    report = json.loads(out.read_text(encoding="utf-8"))
    for line in ("judge: true accepted", "judge: wrong rejected"):
        assert report["scores"][line]["overall"] == 1.0
    z2, told = 1.96**2, sum(one.task in TASKS for one in questions(EXAM))
    bounds = report["intervals"]["judge: true accepted"]  # of n answers all of which are yes: n / (n + z^2) and 1
    assert bounds["counting"] == pytest.approx([2 / (2 + z2), 1])
    assert bounds["overall"] == pytest.approx([told / (told + z2), 1]) and told == 9


def test_a_line_of_wrong_pictures_is_as_sure_as_they_are_many() -> None:
    exam = Exam(prompts=17, tasks=("colours",))
    asked = questions(exam)
    shown = [one for one in asked if wrong_picture(one, exam, 8) is not None]
    assert 0 < len(shown) < len(asked), "some things of one colour have no neighbour"
    lines = ("judge: true accepted", "judge: wrong rejected", "judge: wrong rejected, corrupted")
    found = _intervals(exam, asked, {line: {"colours": 0.5} for line in lines})
    counts = [len(asked), len(shown), len(shown)]
    assert found == {line: {"colours": interval(0.5, n)} for line, n in zip(lines, counts, strict=True)}
