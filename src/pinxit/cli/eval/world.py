"""`pinxit eval world`: how often a painter's pictures show what the prompt says, and how reliable the judge is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.eval.options import Language, Seed, Split, Words, exam_of
from pinxit.cli.eval.report import WIDE, console, show_table, write_report, write_sheet
from pinxit.cli.eval.run import examine
from pinxit.cli.options import Device
from pinxit.cli.painter_settings import Changes, settings_of
from pinxit.errors import UsageError
from pinxit.files import check_file
from pinxit.pictures import check_picture
from pinxit.texts import counted

if TYPE_CHECKING:
    from pinxit.evaluation.questions import Exam, Question
    from pinxit.evaluation.report import Intervals, ScoreTable
    from pinxit.recipes.judge.judge import Judge

JUDGES = {"small": "judge", "gallery": "judge-gallery"}  # the shipped judge of each world
MOST = 14  # columns of a table, beyond which it is transposed
SHOWN = 24  # pictures on the sheet


def world(
    split: Split = "unseen",
    prompts: Annotated[int, typer.Option(min=1, help="How many prompts, shared equally by the tasks.")] = 500,
    candidates: Annotated[
        int | None, typer.Option(min=1, help="Pictures painted for each prompt, then ranked.", show_default="16")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="The painter: a shipped name or a checkpoint folder.", show_default="tiny"),
    ] = None,
    world: Annotated[
        str | None, typer.Option("--world", help="Whose prompts: small or gallery; the judge's own if not given.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="A shipped judge or a checkpoint folder; the world's own if not given."),
    ] = None,
    judge_only: Annotated[
        bool, typer.Option("--judge-only", help="Measure the judge alone; nothing is painted.")
    ] = False,
    seed: Seed = 0,
    language: Language = "en",
    words: Words = "plain",
    changes: Changes = None,
    out: Annotated[Path | None, typer.Option(help="Write a JSON report; an interrupted exam resumes.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a picture of the first prompts' best pictures.")] = None,
    device: Device = "auto",
) -> None:
    """Score a painter on the built-in world with GenEval's protocol, best of 1, 4, 16 ... candidates.

    The judge's own accuracy is shown too: the shares of true renders that it accepts and of wrong ones that it rejects.

    [bold]Examples[/bold]

      pinxit eval world --split unseen --prompts 500 --candidates 16
      pinxit eval world --world gallery --prompts 500 --candidates 16
      pinxit eval world --prompts 60 --candidates 4 --out report.json \\
          --sheet sheet.png
      pinxit eval world --judge-only
    """
    from pinxit.evaluation.partial_results import report_lock
    from pinxit.evaluation.questions import questions
    from pinxit.recipes.judge.judge import Judge

    check_file(out, sheet)
    check_picture(sheet)
    given = {"--checkpoint": checkpoint, "--candidates": candidates, "--set": changes or None, "--sheet": sheet}
    if judge_only and (of_painting := [option for option, value in given.items() if value is not None]):
        raise UsageError(f"--judge-only paints nothing: leave out {' and '.join(of_painting)}.")
    checkpoint, candidates = "tiny" if checkpoint is None else checkpoint, 16 if candidates is None else candidates
    judge = JUDGES.get("small" if world is None else world, "judge") if judge is None else judge
    opened = Judge.open(judge, device)
    exam = exam_of(opened.world if world is None else world, split, prompts, language, words, seed, opened.attributes)
    asked = questions(exam)
    about: dict[str, Any] = {"judge": {"name": judge, "hash": opened.hash}}
    table: ScoreTable = {}
    with report_lock(out):
        if not judge_only:
            settings = settings_of(changes)
            about |= {"candidates": candidates}
            about |= {"settings": settings} if settings else {}
            table |= _painter_table(checkpoint, device, exam, asked, opened, candidates, about, out, sheet)
        table |= _judge_table(exam, asked, opened)
        if out:  # first: the terminal may be gone
            _write(out, exam, asked, about, table, str(opened.device))
        _show(table, f"world:{exam.preset}, {split}, {counted(prompts, 'prompt')}")


def _painter_table(
    checkpoint: str,
    device: str,
    exam: Exam,
    asked: list[Question],
    judge: Judge,
    candidates: int,
    about: dict[str, Any],
    out: Path | None,
    sheet: Path | None,
) -> ScoreTable:
    from pinxit.evaluation.evaluators import painter_scores
    from pinxit.evaluation.report import score_table

    done = examine(checkpoint, device, exam, asked, judge, candidates, about, out, shown=SHOWN if sheet else 0)
    if sheet:
        write_sheet(sheet, done)
    return score_table(painter_scores(done.answers, candidates))


def _judge_table(exam: Exam, asked: list[Question], judge: Judge) -> ScoreTable:
    from pinxit.evaluation.evaluators import judge_scores
    from pinxit.evaluation.geneval import ScorerThresholds
    from pinxit.evaluation.report import score_table

    size = judge.detector.config.size
    scores_by_line = score_table(judge_scores(asked, exam, judge.detect, ScorerThresholds(), size))
    return {f"judge: {line}": scores for line, scores in scores_by_line.items()}


def _show(table: ScoreTable, title: str) -> None:
    from pinxit.evaluation.report import cells

    headings, rows = cells(table)
    if console().width < WIDE or len(headings) > MOST:  # transpose: a world has many tasks
        headings, *rows = (list(column) for column in zip(headings, *rows, strict=True))
    show_table(title, headings, rows)


def _write(out: Path, exam: Exam, asked: list[Question], about: dict[str, Any], table: ScoreTable, device: str) -> None:
    content = {"scores": table, "intervals": _intervals(exam, asked, table)} | about
    write_report(out, exam, device, content, painted="painter" in about)


def _intervals(exam: Exam, asked: list[Question], table: ScoreTable) -> Intervals:
    """Of the prompts; a line of wrong pictures has fewer, as some prompts have none."""
    from pinxit.evaluation.questions import wrong_scene
    from pinxit.evaluation.report import intervals

    every = [one.task for one in asked]
    with_wrong = [one.task for one in asked if wrong_scene(one, exam) is not None]
    found: Intervals = {}
    for line, scores in table.items():
        found |= intervals({line: scores}, with_wrong if "wrong rejected" in line else every)
    return found
