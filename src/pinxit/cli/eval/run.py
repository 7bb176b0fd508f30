"""Runs an exam for a command: opens the painter, shows a progress bar, and resumes an interrupted exam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pinxit.cli.progress import bar
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pinxit.evaluation.exam_run import ExamProgress
    from pinxit.evaluation.questions import Question
    from pinxit.recipes.judge.judge import Judge


def examine(
    checkpoint: str,
    device: str,
    exam: Any,
    asked: Sequence[Question],
    judge: Judge,
    candidates: int,
    about: dict[str, Any],
    out: Path | None,
    shown: int,
) -> ExamProgress:
    """Run a painter through an exam; adds to `about` the painter and, if there is a report, its answers.

    Raises UsageError for settings that the painter does not have, and for candidates that it cannot rank.
    """
    from dataclasses import asdict
    from functools import cache, partial

    from pinxit.api import load
    from pinxit.cli.eval.report import identity_of
    from pinxit.cli.paint_options import warn_about_prompts
    from pinxit.cli.painter_settings import resolve_settings
    from pinxit.evaluation.exam_run import run_exam
    from pinxit.evaluation.geneval import ScorerThresholds
    from pinxit.evaluation.partial_results import partial_path
    from pinxit.weights.zoo import lacks_clip

    if candidates > 1 and lacks_clip(checkpoint):
        raise UsageError(f"{checkpoint} holds no CLIP to rank its candidates: measure it with --candidates 1.")
    painter = load(checkpoint, device=device)
    settings = about.get("settings", {})
    resolve_settings(settings, painter)
    about["painter"] = {"name": checkpoint} | painter.provenance
    identity = identity_of(exam, str(judge.device)) | about
    part = partial_path(out)

    @cache
    def warn_once() -> None:  # as painting begins, after a half exam that does not fit was refused
        warn_about_prompts(checkpoint, painter, (one.prompt for one in asked))

    def paint(prompts: Any, seeds: Any, count: int) -> Any:
        warn_once()
        return painter.paint_many(list(zip(prompts, seeds, strict=True)), candidates=count, keep=None, **settings)

    with bar("painting", len(asked)) as watch:
        done = run_exam(
            asked,
            paint,
            candidates,
            judge.detect,
            ScorerThresholds(),
            rank=partial(painter.rank, **settings),
            shown=shown,
            part=part,
            identity=identity,
            watch=watch,
        )
    if part:
        about["answers"] = [asdict(one) for one in done.answers]
    return done
