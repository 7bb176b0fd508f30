"""The output of exams: tables, contact sheets, and JSON reports with the origin of their figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pinxit.cli.console import plain, print_rich

if TYPE_CHECKING:
    from pathlib import Path

    from pinxit.evaluation.exam_run import ExamProgress

WIDE = 150  # characters a line, enough for all columns side by side
NAME, FIGURE = 12, 5  # least characters of a column of names and of one of figures, however narrow the terminal is


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table with its first `left` columns left-aligned; `WIDE` characters wide unless on a terminal.

    Where that is too narrow, headings are broken, then names, but no figure; it may then be wider.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table

    on = console()
    widest = [max(cell_len(row[place]) for row in rows) for place in range(len(headings))]
    words = [max(map(cell_len, heading.split()), default=0) for heading in headings]
    whole = _fits(widest, on.width)  # or else names share what figures leave, with words of headings whole if possible
    names = [min(width, NAME) for width in widest[:left]]
    figures = list(map(max, widest[left:], words[left:]))
    figures = figures if _fits(names + figures, on.width) else [max(width, FIGURE) for width in widest[left:]]
    shown = Table(title=plain(title), box=box.SIMPLE_HEAD)
    for number, heading in enumerate(headings):
        about: dict[str, Any] = {"justify": "left" if number < left else "right", "overflow": "fold"}
        if number < left:
            about |= {"no_wrap": whole, "min_width": names[number]}
        else:
            least = widest[number] if whole else figures[number - left]
            about |= {"min_width": least, "max_width": None if whole else least}
        shown.add_column(plain(heading), **about)
    for row in rows:
        shown.add_row(*map(plain, row))
    print_rich(on, shown)


def _fits(widths: Sequence[int], room: int) -> bool:
    """Whether columns of these widths fit, each with a gap of three characters."""
    return sum(width + 3 for width in widths) + 1 <= room


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


def identity_of(exam: Any, device: str) -> dict[str, Any]:
    """What a resumed exam must have in common with its first half: `origin`, but for the date."""
    return {name: value for name, value in origin(exam, device).items() if name != "date"}


def write_sheet(path: Path, done: ExamProgress) -> None:
    """Write a picture of the best pictures that were kept, marked right or wrong."""
    from pinxit.data.sheet import sheet
    from pinxit.evaluation.report import marked
    from pinxit.pictures import write_picture

    shown = done.answers[: len(done.pictures)]
    write_picture(path, sheet(done.pictures, marked([a.prompt for a in shown], [a.complaint for a in shown])))


def write_report(out: Path, exam: Any, device: str, content: dict[str, Any], painted: bool = True) -> None:
    """Write a JSON report with the origin of its figures, and remove the file of unfinished work beside it.

    `painted` False: a judge alone was measured, and that file, if there is one, is of a painter's exam, and stays.
    """
    from pinxit.evaluation.partial_results import partial_path
    from pinxit.files import write_json

    write_json(out, origin(exam, device) | content)
    if painted and (part := partial_path(out)):
        part.unlink(missing_ok=True)
