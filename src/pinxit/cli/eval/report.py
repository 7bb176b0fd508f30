"""How results of exams are shown and kept: tables, contact sheets, JSON reports that say where figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pinxit.evaluation.exam_run import ExamProgress

WIDE = 150  # characters a line, enough for all columns side by side


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table, its first `left` columns to the left; as wide as its columns where nobody watches."""
    from rich import box
    from rich.table import Table

    shown = Table(title=title, box=box.SIMPLE_HEAD)
    for number, heading in enumerate(headings):
        justify: Any = "left" if number < left else "right"
        shown.add_column(heading, justify=justify, no_wrap=number < left, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    console().print(shown)


def console() -> Any:
    """Where tables go: a terminal as it is, else lines of `WIDE` characters."""
    from rich.console import Console

    return Console() if Console().is_terminal else Console(width=WIDE)


def origin(exam: Any, device: str) -> dict[str, Any]:
    """What a report says of where its figures come from."""
    from dataclasses import asdict

    from pinxit import __version__
    from pinxit.evaluation.report import today
    from pinxit.training.machine import machine

    return {"pinxit": __version__, "date": today(), "machine": machine(device), "exam": asdict(exam)}


def write_sheet(path: Path, done: ExamProgress) -> None:
    """A PNG of the best picture of every question that was kept, marked right or wrong."""
    from pinxit.data.sheet import sheet
    from pinxit.evaluation.report import marked
    from pinxit.pictures import write_png

    shown = done.answers[: len(done.pictures)]
    if not shown:
        raise UsageError(f"no picture was kept for {path}: the exam was begun without --sheet; remove its .part file.")
    write_png(path, sheet(done.pictures, marked([a.prompt for a in shown], [a.complaint for a in shown])))


def write_report(out: Path, exam: Any, device: str, content: dict[str, Any]) -> None:
    """A JSON report that says where its figures come from; the half-done work beside it goes."""
    from pinxit.evaluation.partial import part_of
    from pinxit.files import write_json

    write_json(out, origin(exam, device) | content)
    if part := part_of(out):
        part.unlink(missing_ok=True)
