"""The output of exams: tables, contact sheets, and JSON reports with the origin of their figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from pinxit.evaluation.exam_run import ExamProgress

WIDE = 150  # characters a line, enough for all columns side by side


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table with its first `left` columns left-aligned; `WIDE` characters wide unless on a terminal."""
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
    """The console for tables: the terminal, or else lines of `WIDE` characters."""
    from rich.console import Console

    return Console() if Console().is_terminal else Console(width=WIDE)


def origin(exam: Any, device: str) -> dict[str, Any]:
    """The origin of a report's figures: version, date, machine, exam."""
    from dataclasses import asdict

    from pinxit import __version__
    from pinxit.evaluation.report import today
    from pinxit.training.machine import machine

    return {"pinxit": __version__, "date": today(), "machine": machine(device), "exam": asdict(exam)}


def write_sheet(path: Path, done: ExamProgress) -> None:
    """Write a PNG of the best pictures that were kept, marked right or wrong."""
    from pinxit.data.sheet import sheet
    from pinxit.evaluation.report import marked
    from pinxit.pictures import write_png

    shown = done.answers[: len(done.pictures)]
    write_png(path, sheet(done.pictures, marked([a.prompt for a in shown], [a.complaint for a in shown])))


def write_report(out: Path, exam: Any, device: str, content: dict[str, Any], painted: bool = True) -> None:
    """Write a JSON report with the origin of its figures, and remove the file of unfinished work beside it.

    `painted` False: a judge alone was measured, and that file, if there is one, is of a painter's exam, and stays.
    """
    from pinxit.evaluation.partial import part_of
    from pinxit.files import write_json

    write_json(out, origin(exam, device) | content)
    if painted and (part := part_of(out)):
        part.unlink(missing_ok=True)
