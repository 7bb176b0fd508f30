"""Runs a painter through an exam, a few prompts at a time; finished answers survive an interruption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.config import from_dict
from pinxit.errors import UsageError
from pinxit.evaluation import partial_results as parts
from pinxit.evaluation.evaluators import Answer, Detect, PaintPrompts, Rank, answer, columns
from pinxit.evaluation.geneval import ScorerThresholds
from pinxit.evaluation.questions import Question
from pinxit.schema import Count, checked, plain_number

if TYPE_CHECKING:
    from pinxit.types import Picture

CHUNK = 8  # prompts painted together


@dataclass
class ExamProgress:
    """The answers so far, and the best pictures of the first ones, in the same order, for a contact sheet."""

    answers: list[Answer] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def run_exam(
    asked: Sequence[Question],
    paint: PaintPrompts,
    candidates: int,
    detect: Detect,
    rules: ScorerThresholds,
    *,
    rank: Rank | None = None,
    shown: int = 0,
    part: Path | str | None = None,
    identity: Mapping[str, Any] | None = None,
    watch: Callable[[int], None] = lambda done: None,
) -> ExamProgress:
    """Paint and judge every question.

    `rank` is the painter's own ranking, needed where scores depend on the other candidates. `shown`: of how many
    questions, from the first on, the best picture is kept. With `part`, answers are saved in that file after every few
    prompts, and resumed from it; `identity` describes the exam. `watch` gets the number of finished questions. Raises
    UsageError when the file belongs to another exam, holds answers to other questions or with another number of
    candidates, or lacks pictures to be shown.
    """
    part = None if part is None else Path(part)
    candidates = checked(Count, plain_number(candidates), "candidates")
    done = parts.load_partial(part, identity or {}, _Answers, _read) or ExamProgress()
    answered = [(one.task, one.prompt, one.seed) for one in done.answers]
    other = "questions" if answered != [(q.task, q.prompt, q.seed) for q in asked[: len(answered)]] else ""
    other = other or ("candidates" if any(len(one.candidates) != candidates for one in done.answers) else "")
    if other:
        raise UsageError(
            f"{part} holds half of an exam with other {other}, as of another version; remove it, or choose another "
            "--out."
        )
    if len(done.pictures) < min(shown, len(done.answers)):
        raise UsageError(
            f"{part} was painted without --sheet: leave it out, or remove that file to paint everything anew."
        )
    watch(len(done.answers))
    for start in range(len(done.answers), len(asked), CHUNK):
        chunk = asked[start : start + CHUNK]
        painted = paint([one.prompt for one in chunk], [one.seed for one in chunk], candidates)
        for question, ranked in zip(chunk, painted, strict=True):
            done.answers.append(answer(question, ranked, detect, rules, rank))
            if len(done.pictures) < shown:
                done.pictures.append(ranked[0].picture)
        if part:
            parts.save_partial(part, identity or {}, _kept(done))
        watch(len(done.answers))
    return done


class _Answers(parts.PartialResults):
    answers: list[dict[str, Any]]
    pictures: list[str]


def _kept(done: ExamProgress) -> dict[str, Any]:
    answers = [asdict(one) for one in done.answers]
    return {"answers": answers, "pictures": [parts.to_text(picture) for picture in done.pictures]}


def _read(data: Mapping[str, Any]) -> ExamProgress:
    answers = [from_dict(Answer, one) for one in data["answers"]]
    for one in answers:
        fits = len(one.right) == len(one.candidates) and len(one.chosen) == len(columns(len(one.candidates)))
        if not (fits and set(one.chosen) <= set(one.candidates)):
            raise ValueError(f"the answer to '{one.prompt}' is not of its candidates")
    return ExamProgress(answers, [parts.to_picture(text) for text in data["pictures"]])
