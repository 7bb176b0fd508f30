"""`pinxit eval famous`: which questions are asked, how answers are counted, and the command from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from typer.testing import CliRunner

from pinxit.cli.eval import app
from pinxit.errors import UsageError
from pinxit.evaluation.evaluators import Answer
from pinxit.evaluation.famous_exam import FamousExam, famous_questions, famous_scores, judge_on_famous
from pinxit.evaluation.geneval import ScorerThresholds
from pinxit.evaluation.questions import true_picture
from pinxit.functional.boxes import Detections
from pinxit.models.detector import Detector, DetectorConfig
from pinxit.recipes.dalle.config import SamplingConfig
from pinxit.recipes.judge.judge import config_for
from pinxit.recipes.painting import Painter
from pinxit.types import Prompt, Ranked
from pinxit.weights.checkpoint import Part, save_checkpoint
from tests.recipes.test_judge import TINY as SMALL_JUDGE

if TYPE_CHECKING:
    from pinxit.types import Picture


def test_every_sentence_is_asked_for_every_seed_in_the_language_asked_for() -> None:
    asked = famous_questions(FamousExam(seeds=3, seed=5))
    assert len(asked) == 26 * 3
    assert [one.seed for one in asked[:4]] == [5, 6, 7, 5]
    assert asked[0].prompt == "a clock in the shape of a green triangle" and asked[0].scene != asked[1].scene
    zh = famous_questions(FamousExam(seeds=1, language="zh"))
    assert zh[0].prompt == "三角形绿色的钟" and zh[0].expected == asked[0].expected


def test_no_seeds_are_refused() -> None:
    for odd in ({"seeds": 0}, {"seed": -1}, {"language": "fr"}):
        with pytest.raises(UsageError, match=rf"exam\.{next(iter(odd))} must be "):
            FamousExam(**odd)


def answered(task: str, seed: int, right: Sequence[bool], chosen: Sequence[int]) -> Answer:
    return Answer(task, task, seed, tuple(range(len(right))), tuple(right), "", tuple(chosen))


def test_the_shares_are_of_sentences_and_seeds() -> None:
    """Of four candidates the first drawn and the best-ranked count; `overall` is over all pictures, not over tasks."""
    answers = [
        answered("a", 0, (True, False, False, False), (0, 0)),
        answered("a", 1, (False, True, False, False), (0, 1)),
        answered("a", 2, (False, False, False, True), (0, 2)),
        answered("b", 0, (False, False, False, False), (0, 3)),
    ]
    lines = famous_scores(answers, 4)
    assert lines["a"] == pytest.approx({"best of 1": 1 / 3, "best of 4": 2 / 3, "any of 4": 1.0})
    assert lines["b"] == {"best of 1": 0.0, "best of 4": 0.0, "any of 4": 0.0}
    assert lines["overall"] == {"best of 1": 0.25, "best of 4": 0.5, "any of 4": 0.75}
    assert list(lines) == ["a", "b", "overall"]


def test_a_judge_that_sees_nothing_accepts_nothing() -> None:
    asked = famous_questions(FamousExam(seeds=1))[:3]
    shares = judge_on_famous(asked, lambda pictures: [Detections((), None) for _ in pictures], ScorerThresholds())
    assert shares == {"triangle-clock": 0.0, "pentagon-clock": 0.0, "square-pot": 0.0, "overall": 0.0}


def untrained(config: DetectorConfig, world: str, folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = Detector(config).state_dict()
    save_checkpoint(folder, "judge", {"detector": Part(config, state)}, settings={"world": world})
    return folder


def test_a_judge_that_cannot_read_is_refused_before_anything_is_painted(tmp_path: Path) -> None:
    judge = untrained(SMALL_JUDGE, "small", tmp_path / "judge")
    with pytest.raises(UsageError, match=r"this judge does not report .*words.*take one trained on world:gallery"):
        CliRunner().invoke(app, ["famous", "--judge", str(judge)], catch_exceptions=False)


class Exact:
    """Paints the truth, once for every candidate."""

    provenance = {"checkpoint": "exact", "hash": "0123456789ab"}  # noqa: RUF012  never changed
    defaults = {"guidance": 1.0}  # noqa: RUF012
    kinds, settled = SamplingConfig, Painter.settled
    asked: list[tuple[str, int]]

    def paint_many(self, asked: list[tuple[str, int]], candidates: int, keep: None) -> list[list[Ranked]]:
        self.asked.extend(asked)
        truths = {(one.prompt, one.seed): true_picture(one) for one in famous_questions(FamousExam(2, "zh", 7))}
        return [[Ranked(truths[one], one[1], c, 1 / (1 + c)) for c in range(candidates)] for one in asked]

    def unknown_words(self, text: str) -> list[str]:
        return ["OPENAI"] if "OPENAI" in text else []

    def rank(self, prompt: Prompt, pictures: Sequence[Picture]) -> list[Ranked]:
        return [Ranked(one, prompt.seed, k, 1 / (1 + k)) for k, one in enumerate(pictures)]


def test_the_command_asks_what_its_options_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    judge = untrained(config_for("gallery").detector, "gallery", tmp_path / "judge")
    painter = Exact()
    painter.asked = []
    monkeypatch.setattr("pinxit.api.load", lambda checkpoint, device: painter)
    options = ["--seeds", "2", "--seed", "7", "--language", "zh", "--candidates", "1", "--judge", str(judge)]
    files = ["--out", str(out), "--sheet", str(sheet)]
    result = CliRunner().invoke(app, ["famous", *options, *files], catch_exceptions=False)
    assert result.exit_code == 0 and "三角形绿色的钟" in result.output
    told = (
        "tiny has never met some words of 1 of 26 prompts in training, such as '写着OPENAI的商店招牌', and will guess."
    )
    assert result.stderr.count("will guess") == 1 and told in result.stderr
    assert painter.asked == [(one.prompt, one.seed) for one in famous_questions(FamousExam(2, "zh", 7))]
    report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    assert report["overall"] == {"best of 1": 0.0, "judge": 0.0} and len(report["scores"]) == 27
    assert report["exam"] == {"seeds": 2, "language": "zh", "seed": 7, "world": "famous"} and sheet.is_file()
