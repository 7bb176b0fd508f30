"""Columns, best and any of n, the exam's questions, and a judge that accepts everything being seen through."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch

from pinxit.errors import UsageError
from pinxit.evaluation.evaluators import (
    Answer,
    PaintPrompts,
    answer,
    columns,
    judge_scores,
    painter_scores,
    scores,
)
from pinxit.evaluation.geneval import ScorerThresholds, needs
from pinxit.evaluation.questions import (
    NEEDED,
    Exam,
    Question,
    Words,
    judged_by,
    questions,
    true_picture,
    wrong_picture,
)
from pinxit.functional import corruption
from pinxit.functional.boxes import Detections
from pinxit.types import Prompt, Ranked
from pinxit.world.expectations import satisfied
from pinxit.world.tasks import EXTRAS, TASKS
from tests.evaluation.test_geneval import perfect

if TYPE_CHECKING:
    from pinxit.types import Picture

EXAM = Exam(prompts=18)
ASKED = questions(EXAM)


class Oracle:
    """A judge that recognises every picture of an exam, corrupted or not; with `credulous` it takes wrong ones for
    right.
    """

    def __init__(self, asked: Sequence[Question], exam: Exam, credulous: bool = False) -> None:
        self.detected: dict[bytes, Detections] = {}
        for question in asked:
            wrong = wrong_picture(question, exam)
            if wrong is not None:
                self.detected[wrong.tobytes()] = perfect(question.scene) if credulous else Detections(())
            self.detected[true_picture(question).tobytes()] = perfect(question.scene)

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        known = np.stack([np.frombuffer(picture, np.uint8) for picture in self.detected]).astype(np.float32)
        apart = [np.abs(known - picture.reshape(1, -1)).mean(1) for picture in pictures]
        detected = list(self.detected.values())
        return [detected[int(far.argmin())] for far in apart]


def exact_pictures(asked: Sequence[Question], size: int = 64) -> PaintPrompts:
    """A painter that is always right: it returns the render of the scene that the prompt was made from."""
    scenes = {question.seed: question for question in asked}

    def paint(prompts: Sequence[str], seeds: Sequence[int], candidates: int) -> list[list[Ranked]]:
        return [[Ranked(true_picture(scenes[seed], size), seed, 0, 1.0)] for seed in seeds]

    return paint


def test_an_exam_is_the_same_everywhere_and_a_longer_one_continues_it() -> None:
    assert questions(EXAM) == ASKED
    assert questions(Exam(prompts=40))[:18] == ASKED
    assert [one.task for one in ASKED[:6]] == list(TASKS) and len({one.seed for one in ASKED}) == 18
    assert all(satisfied(one.scene, one.expected) for one in ASKED)
    assert questions(Exam(prompts=6, seed=1))[0].prompt != ASKED[0].prompt
    chinese = questions(Exam(prompts=6, language="zh"))
    assert chinese[1].scene == ASKED[1].scene and any("一" <= c <= "鿿" for c in chinese[1].prompt)


def test_an_exam_asks_only_what_its_judge_can_tell() -> None:
    assert judged_by(frozenset(), "small") == ()
    some, every = frozenset({"words", "link"}), (*TASKS, *EXTRAS["gallery"])
    tasks = judged_by(some, "gallery")
    assert set(tasks) >= {*TASKS, "stack", "behind", "words"} and not set(tasks) & {"walking", "riding", "outfit"}
    asked = questions(Exam("gallery", prompts=10 * len(tasks), tasks=tasks))
    assert {one.task for one in asked} == set(tasks) and all(needs(one.expected) <= some for one in asked)
    assert [one.task for one in questions(Exam("gallery", prompts=len(every)))] == list(every)
    assert judged_by(frozenset(sense for needed in NEEDED.values() for sense in needed), "gallery") == ()
    left_out = {one.task for one in questions(Exam("gallery", prompts=220)) if not needs(one.expected) <= some}
    assert {"outfit", "shaped", "view", "light", "made of"} <= left_out <= set(every) - set(tasks)


def test_exams_that_make_no_sense_are_refused() -> None:
    """A language or wording that does not exist was taken for another one."""
    for odd in (
        {"prompts": 0},
        {"prompts": 2.5},
        {"seed": -1},
        {"preset": "moon"},
        {"language": "fr"},
        {"words": "odd"},
    ):
        with pytest.raises(UsageError, match=rf"exam\.{next(iter(odd))} must be "):
            Exam(**odd)
    with pytest.raises(UsageError, match="'juggling'"):
        questions(Exam(tasks=("juggling",)))
    assert Exam(prompts=1).prompts == 1


@pytest.mark.parametrize("words", get_args(Words))
def test_other_words_are_for_the_english_of_the_small_world_and_for_tasks_that_name_a_thing_once(words: Words) -> None:
    plain = words == "plain"
    Exam("small", words=words)
    Exam("small", words=words, tasks=("single_object",))
    for others in ({"preset": "gallery"}, {"language": "zh"}, {"preset": "gallery", "language": "zh"}):
        with nullcontext() if plain else pytest.raises(UsageError, match="English of the small world"):
            Exam(**others, words=words)  # type: ignore[arg-type]
    with nullcontext() if plain else pytest.raises(UsageError, match=f"pair has no {words} prompts"):
        Exam("small", words=words, tasks=("single_object", "pair"))


def test_columns_are_powers_of_four_and_the_last() -> None:
    assert columns(1) == [1] and columns(16) == [1, 4, 16] and columns(64) == [1, 4, 16, 64]
    assert columns(10) == [1, 4, 10]


def test_best_of_n_takes_the_highest_ranked_of_the_first_n_drawn() -> None:
    one = Answer(
        "counting",
        "p",
        0,
        candidates=(5, 2, 0, 1, 3, 4),
        right=(True, False, True, False, False, True),
        complaint="",
        chosen=(0, 2, 5),
    )
    assert [one.best_of(n) for n in (1, 4, 6)] == [True, False, True]
    assert [one.any_of(n) for n in (1, 3, 6)] == [True, True, True]
    nothing = Answer("counting", "p", 0, (0, 1, 2, 3), (False,) * 4, "0 fox, not 1", chosen=(0, 0))
    assert not nothing.any_of(2)
    found = dict(painter_scores([one, nothing], 4))
    assert (
        found["best of 1/counting"] == 0.5 and found["best of 4/counting"] == 0.0 and found["any of 4/counting"] == 0.5
    )
    assert "any of 1/counting" not in found and "best of 4/overall" not in found


def test_every_candidate_is_judged_in_ranked_order() -> None:
    question, other = ASKED[0], ASKED[1]
    pictures = [true_picture(other), true_picture(question)]
    ranked = [Ranked(pictures[1], 9, 1, 0.8), Ranked(pictures[0], 9, 0, 0.1)]
    judged = answer(question, ranked, Oracle(ASKED, EXAM), ScorerThresholds())
    assert (
        judged.candidates == (1, 0)
        and judged.chosen == (0, 1)
        and judged.right == (True, False)
        and judged.complaint == ""
    )
    assert answer(question, ranked[::-1], Oracle(ASKED, EXAM), ScorerThresholds()).complaint != ""


def test_a_ranking_by_company_is_asked_again_for_fewer_candidates() -> None:
    """Otherwise the best of 4 would know what the other twelve looked like."""
    asked: list[int] = []

    def last_first(prompt: Prompt, pictures: Sequence[Picture]) -> list[Ranked]:
        asked.append(len(pictures))
        assert prompt == Prompt(ASKED[0].prompt, ASKED[0].seed)
        return [Ranked(one, prompt.seed, k, float(k)) for k, one in enumerate(pictures)][::-1]

    ranked = [Ranked(np.full((8, 8, 3), k, np.uint8), 9, k, 16.0 - k) for k in range(16)]
    judged = answer(ASKED[0], ranked, lambda pictures: [Detections(())] * len(pictures), ScorerThresholds(), last_first)
    assert judged.chosen == (0, 3, 0) and asked == [1, 4]


def test_overall_appears_only_with_all_six_tasks() -> None:
    full = dict(scores({task: [True, False] for task in TASKS} | {"sketch": [True]}))
    assert full["overall"] == 0.5 and full["sketch"] == 1.0
    assert "overall" not in dict(scores({"counting": [True]}))


def test_exact_pictures_score_full_marks() -> None:
    paint = exact_pictures(ASKED)
    painted = paint([one.prompt for one in ASKED], [one.seed for one in ASKED], 1)
    judged = [answer(q, r, Oracle(ASKED, EXAM), ScorerThresholds()) for q, r in zip(ASKED, painted, strict=True)]
    assert dict(painter_scores(judged, 1))["best of 1/overall"] == 1.0


def test_a_judge_that_accepts_everything_is_seen() -> None:
    honest = dict(judge_scores(ASKED, EXAM, Oracle(ASKED, EXAM), ScorerThresholds()))
    assert honest["true accepted/overall"] == 1.0 and honest["wrong rejected/overall"] == 1.0
    assert honest["true accepted, corrupted/overall"] == 1.0 and honest["wrong rejected, corrupted/overall"] == 1.0
    credulous = dict(judge_scores(ASKED, EXAM, Oracle(ASKED, EXAM, credulous=True), ScorerThresholds()))
    assert credulous["true accepted/overall"] == 1.0 and credulous["wrong rejected/overall"] == 0.0
    blind = dict(judge_scores(ASKED, EXAM, lambda pictures: [Detections(())] * len(pictures), ScorerThresholds()))
    assert blind["true accepted/overall"] == 0.0 and blind["wrong rejected/overall"] == 1.0


def test_wrong_pictures_are_wrong_and_repeatable() -> None:
    for question in ASKED:
        wrong = wrong_picture(question, EXAM)
        again = wrong_picture(question, EXAM)
        assert wrong is not None and again is not None
        assert np.array_equal(wrong, again) and not np.array_equal(wrong, true_picture(question))


def test_any_of_n_counts_the_first_n_drawn() -> None:
    right = tuple(number == 4 for number in (3, 4, 0, 1, 2))
    one = Answer("counting", "two cats", 0, (3, 4, 0, 1, 2), right, "", (0, 3, 3))
    assert [one.any_of(n) for n in columns(5)] == [False, False, True]
    assert [one.best_of(n) for n in columns(5)] == [False, False, False]


def test_the_judges_own_lines_show_pictures_whole_and_worn() -> None:
    shown: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = []

    def detect(pictures: Sequence[Picture]) -> list[Detections]:
        shown.append(np.stack(pictures))
        return [Detections(())] * len(pictures)

    lines = {name.split("/")[0] for name, _ in judge_scores(ASKED, EXAM, detect, ScorerThresholds())}
    assert lines == {"true accepted", "true accepted, corrupted", "wrong rejected", "wrong rejected, corrupted"}
    whole, corrupted, wrong, wrong_corrupted = shown
    assert np.array_equal(whole, np.stack([true_picture(question) for question in ASKED]))
    for clean, damaged in ((whole, corrupted), (wrong, wrong_corrupted)):
        apart = np.abs(clean.astype(float) - damaged).mean((1, 2, 3))
        assert clean.shape == damaged.shape and (apart > 0.1).all() and (apart < 30).all()


def test_the_judge_is_shown_a_batch_at_a_time_each_worn_by_draws_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    worn: list[tuple[str, list[float], int, int]] = []
    shown: list[int] = []

    def watch(name: str, wear: Any) -> None:
        def wears(x: torch.Tensor, strength: torch.Tensor, draws: Any, cells: int) -> Any:
            worn.append((name, [round(one, 6) for one in strength.tolist()], cells, draws.generator.initial_seed()))
            return wear(x, strength, draws, cells)

        monkeypatch.setattr(corruption, name, wears)

    def detect(pictures: Sequence[Picture]) -> list[Detections]:
        shown.append(len(pictures))
        return [Detections(())] * len(pictures)

    watch("patched", corruption.patched)
    watch("strewn", corruption.strewn)
    dict(judge_scores(ASKED[:5], EXAM, detect, ScorerThresholds(), batch=3))
    assert shown == [3, 2] * 4
    parts = [(3, 0), (2, 3)] * 2  # how many, and from which on
    wear = (("patched", 1.0), ("strewn", 0.01))
    assert worn == [(name, [by] * count, 12, first) for count, first in parts for name, by in wear]


def test_painters_seeds_follow_the_exams() -> None:
    assert [one.seed for one in questions(Exam(prompts=3, seed=7))] == [7, 8, 9]
    assert [one.seed for one in questions(Exam(prompts=3, seed=100))] == [100, 101, 102]
