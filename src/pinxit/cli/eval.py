"""`pinxit eval`: how often a painter does what the sentence says, and how far its judge can be trusted."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli import eval_clip
from pinxit.cli.options import Device
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinxit.evaluation.questions import Exam, Question
    from pinxit.evaluation.report import Lines
    from pinxit.recipes.judge import Judge

app = typer.Typer(help="Measure painters and CLIPs.", no_args_is_help=True)
app.command("labels")(eval_clip.labels)
app.command("shift")(eval_clip.shift)
app.command("retrieval")(eval_clip.retrieval)
SHOWN = 24  # pictures on the sheet
WIDE = 150  # characters a line, enough for all tasks side by side


@app.callback()
def group() -> None:
    """Measure painters and CLIPs."""


@app.command("world")
def world(
    split: Annotated[
        str, typer.Option(help="unseen: combinations never met in training; seen: fresh scenes.")
    ] = "unseen",
    prompts: Annotated[int, typer.Option(min=1, help="How many prompts, shared equally by the tasks.")] = 500,
    candidates: Annotated[int, typer.Option(min=1, help="Pictures painted for each prompt, then ranked.")] = 16,
    checkpoint: Annotated[str, typer.Option(help="The painter: a shipped name or a checkpoint folder.")] = "tiny",
    judge: Annotated[str, typer.Option(help="The judge: a shipped name or a checkpoint folder.")] = "judge",
    judge_only: Annotated[
        bool, typer.Option("--judge-only", help="Measure the judge alone; nothing is painted.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Which prompts and which pictures.")] = 0,
    language: Annotated[str, typer.Option(help="Of the prompts: en or zh.")] = "en",
    words: Annotated[
        str, typer.Option(help="Of the prompts: plain, or unheard: nouns that no training caption holds.")
    ] = "plain",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change how the painter paints, e.g. guidance=7 or steps=50; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a JSON report; an interrupted exam goes on from it.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG of the first prompts' best pictures.")] = None,
    device: Device = "auto",
) -> None:
    """Score a painter on the built-in world with GenEval's protocol, best of 1, 4, 16 ... candidates.

    The judge's own accuracy stands beside: how many true renders it accepts and how many wrong ones it rejects.

    [bold]Examples[/bold]

      pinxit eval world --split unseen --prompts 500 --candidates 16
      pinxit eval world --prompts 60 --candidates 4 --out report.json --sheet sheet.png
      pinxit eval world --judge-only
    """
    from pinxit.evaluation.questions import questions
    from pinxit.recipes.judge import Judge

    opened = Judge.open(judge, device)
    exam = _exam(opened.world, split, prompts, language, words, seed)
    asked = questions(exam)
    about = {"judge": {"name": judge, "hash": opened.hash}, "candidates": candidates}
    table: Lines = {}
    if not judge_only:
        settings = _settings(changes or [])
        about |= {"settings": settings} if settings else {}
        table |= _painter_lines(checkpoint, device, exam, asked, opened, candidates, about, out, sheet)
    table |= _judge_lines(exam, asked, opened)
    _show(table, f"world:{exam.preset}, {split}, {prompts} prompts")
    if out:
        _write(out, exam, asked, about, table, str(opened.device))


def _exam(preset: str, split: str, prompts: int, language: str, words: str, seed: int) -> Exam:
    from pinxit.config import from_dict
    from pinxit.evaluation.questions import Exam

    values = {"preset": preset, "split": split, "prompts": prompts, "language": language, "seed": seed}
    values["words"] = words
    return from_dict(Exam, values, "exam")


def _settings(changes: list[str]) -> dict[str, Any]:
    """ "guidance=7" as {"guidance": 7}; numbers and words alike."""
    import json

    found = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise UsageError(f"--set {change}: write NAME=VALUE.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _painter_lines(
    checkpoint: str,
    device: str,
    exam: Exam,
    asked: list[Question],
    judge: Judge,
    candidates: int,
    about: dict[str, Any],
    out: Path | None,
    sheet: Path | None,
) -> Lines:
    from dataclasses import asdict

    from pinxit.api import load
    from pinxit.evaluation.evaluators import painter_scores
    from pinxit.evaluation.geneval import Rules
    from pinxit.evaluation.report import lines
    from pinxit.evaluation.sitting import sit

    painter = load(checkpoint, device=device)
    about["painter"] = {"name": checkpoint} | painter.provenance
    identity = {"exam": asdict(exam)} | about
    part = out.with_name(f"{out.name}.part") if out else None

    def paint(prompts: Any, seeds: Any, count: int) -> Any:
        asked = list(zip(prompts, seeds, strict=True))
        return painter.paint_many(asked, candidates=count, keep=None, **about.get("settings", {}))

    with _bar("painting", len(asked)) as watch:
        done = sit(
            asked,
            paint,
            candidates,
            judge.look,
            Rules(),
            shown=SHOWN if sheet else 0,
            part=part,
            identity=identity,
            watch=watch,
        )
    if sheet:
        _write_sheet(sheet, done)
    if part:
        about["answers"] = [asdict(one) for one in done.answers]
    return lines(painter_scores(done.answers, candidates))


def _judge_lines(exam: Exam, asked: list[Question], judge: Judge) -> Lines:
    from pinxit.evaluation.evaluators import judge_scores
    from pinxit.evaluation.geneval import Rules
    from pinxit.evaluation.report import lines

    size = judge.detector.config.size
    found = lines(judge_scores(asked, exam, judge.look, Rules(), size))
    return {f"judge: {line}": scores for line, scores in found.items()}


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("prompts"))
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _write_sheet(path: Path, done: Any) -> None:
    from pinxit.data.sheet import sheet
    from pinxit.evaluation.report import marked
    from pinxit.pictures import write_png

    shown = done.answers[: len(done.pictures)]
    if not shown:
        raise UsageError(f"no picture was kept for {path}: the exam was begun without --sheet; remove its .part file.")
    write_png(path, sheet(done.pictures, marked([a.prompt for a in shown], [a.complaint for a in shown])))


def _show(table: Lines, title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from pinxit.evaluation.report import cells

    console = Console() if Console().is_terminal else Console(width=WIDE)
    headings, rows = cells(table)
    if console.width < WIDE:  # tasks downwards: a column is as narrow as the longest word of its heading
        headings, *rows = (list(column) for column in zip(headings, *rows, strict=True))
    shown = Table(title=title, box=box.SIMPLE_HEAD)
    for number, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if number else "left", no_wrap=not number, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def _write(out: Path, exam: Exam, asked: list[Question], about: dict[str, Any], table: Lines, device: str) -> None:
    from dataclasses import asdict

    from pinxit import __version__
    from pinxit.evaluation.report import intervals, machine, today
    from pinxit.files import write_json

    origin = {"pinxit": __version__, "date": today(), "machine": machine(device), "exam": asdict(exam)}
    scores = {"scores": table, "intervals": intervals(table, [one.task for one in asked])}
    write_json(out, origin | scores | about)
    out.with_name(f"{out.name}.part").unlink(missing_ok=True)
