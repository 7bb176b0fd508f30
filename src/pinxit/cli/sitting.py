"""A painter sits an exam at the command line: a bar, half-done work kept, a sheet and a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pinxit.cli.examining import bar, origin
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pinxit.evaluation.questions import Question
    from pinxit.evaluation.sitting import Sitting
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
) -> Sitting:
    """Let a painter sit an exam; `about` learns who it is and, where there is a report, its answers.

    Raises UsageError for settings that the painter does not have.
    """
    from dataclasses import asdict
    from functools import partial

    from pinxit.api import load
    from pinxit.cli.settings import settled
    from pinxit.evaluation.geneval import Rules
    from pinxit.evaluation.part import part_of
    from pinxit.evaluation.sitting import sit

    painter = load(checkpoint, device=device)
    settings = about.get("settings", {})
    settled(settings, painter)
    about["painter"] = {"name": checkpoint} | painter.provenance
    identity = {"exam": asdict(exam)} | about
    part = part_of(out)

    def paint(prompts: Any, seeds: Any, count: int) -> Any:
        return painter.paint_many(list(zip(prompts, seeds, strict=True)), candidates=count, keep=None, **settings)

    with bar("painting", len(asked)) as watch:
        done = sit(
            asked,
            paint,
            candidates,
            judge.look,
            Rules(),
            rank=partial(painter.rank, **settings),
            shown=shown,
            part=part,
            identity=identity,
            watch=watch,
        )
    if part:
        about["answers"] = [asdict(one) for one in done.answers]
    return done


def write_sheet(path: Path, done: Sitting) -> None:
    """A PNG of the best picture of every question that was kept, marked right or wrong."""
    from pinxit.data.sheet import sheet
    from pinxit.evaluation.report import marked
    from pinxit.pictures import write_png

    shown = done.answers[: len(done.pictures)]
    if not shown:
        raise UsageError(f"no picture was kept for {path}: the exam was begun without --sheet; remove its .part file.")
    write_png(path, sheet(done.pictures, marked([a.prompt for a in shown], [a.complaint for a in shown])))


def write_report(out: Path, exam: Any, device: str, found: dict[str, Any]) -> None:
    """A JSON report that says where its figures come from; the half-done work beside it goes."""
    from pinxit.evaluation.part import part_of
    from pinxit.files import write_json

    write_json(out, origin(exam, device) | found)
    if part := part_of(out):
        part.unlink(missing_ok=True)
