"""What the commands that ask exams share: their options, the bar, where figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinxit.evaluation.questions import Exam

WIDE = 150  # characters a line, enough for all columns side by side

Split = Annotated[str, typer.Option(help="unseen: combinations never met in training; seen: fresh scenes.")]
PainterName = Annotated[str, typer.Option("--checkpoint", help="The painter: a shipped name or a checkpoint folder.")]
JudgeName = Annotated[str, typer.Option("--judge", help="The judge: a shipped name or a checkpoint folder.")]
Seed = Annotated[int, typer.Option(min=0, help="Which prompts and which pictures.")]
Language = Annotated[str, typer.Option(help="Of the prompts: en or zh.")]
Words = Annotated[
    str,
    typer.Option(
        help="Of the prompts: plain; unheard: nouns that no training caption holds; heard: the usual nouns in the "
        "same sentences; paraphrased: sentences put as no training caption is."
    ),
]


def exam_of(
    preset: str, split: str, prompts: int, language: str, words: str, seed: int, senses: frozenset[str]
) -> Exam:
    """The exam that the options ask for, without the tasks that a judge of these senses cannot see.

    Raises UsageError for an exam that there is not.
    """
    from pinxit.config import from_dict
    from pinxit.evaluation.questions import Exam, judged_by
    from pinxit.world.vocabulary import lexicon

    values = {"preset": preset, "split": split, "prompts": prompts, "language": language, "seed": seed}
    values |= {"words": words, "tasks": judged_by(senses, lexicon(preset).preset)}
    return from_dict(Exam, values, "exam")


@contextmanager
def bar(what: str, total: int, unit: str = "prompts") -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr; call what it gives with how many are done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)


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
