"""`pinxit eval famous`: how many of the sentences that made text-to-image famous a painter paints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.eval.options import JudgeName, Language, PainterName, Seed
from pinxit.cli.eval.report import show_table, write_report, write_sheet
from pinxit.cli.eval.run import examine
from pinxit.cli.options import Device
from pinxit.cli.painter_settings import Changes, settings_of
from pinxit.files import check_file
from pinxit.pictures import check_picture

if TYPE_CHECKING:
    from pinxit.evaluation.report import ScoreTable


def famous(
    checkpoint: PainterName = "tiny",
    candidates: Annotated[int, typer.Option(min=1, help="Pictures painted for each sentence, then ranked.")] = 16,
    seeds: Annotated[int, typer.Option(min=1, help="How many times each sentence is painted, from seed on.")] = 4,
    language: Language = "en",
    judge: JudgeName = "judge-gallery",
    seed: Seed = 0,
    changes: Changes = None,
    out: Annotated[Path | None, typer.Option(help="Write a JSON report; an interrupted exam resumes.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a picture of every best picture, marked right or wrong.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Paint the sentences that made text-to-image famous, and count how many are right.

    None of them, and none of their combinations, occurs in a training caption of world:gallery. The last line is the
    share of all pictures that are right; the last column is the share of true renders that the judge accepts.

    [bold]Examples[/bold]

      pinxit eval famous --sheet famous.png
      pinxit eval famous --language zh --candidates 4 --out zh.json
    """
    from pinxit.config import from_dict
    from pinxit.evaluation.famous_exam import FamousExam, check_judge, famous_questions, famous_scores, judge_on_famous
    from pinxit.evaluation.geneval import ScorerThresholds
    from pinxit.evaluation.partial_results import report_lock
    from pinxit.recipes.judge.judge import Judge

    check_file(out, sheet)
    check_picture(sheet)
    exam = from_dict(FamousExam, {"seeds": seeds, "language": language, "seed": seed}, "exam")
    opened = Judge.open(judge, device)
    asked = famous_questions(exam)
    check_judge(asked, opened.attributes)
    about: dict[str, Any] = {"judge": {"name": judge, "hash": opened.hash}, "candidates": candidates}
    settings = settings_of(changes)
    about |= {"settings": settings} if settings else {}
    with report_lock(out):
        done = examine(
            checkpoint, device, exam, asked, opened, candidates, about, out, shown=len(asked) if sheet else 0
        )
        table = famous_scores(done.answers, candidates)
        for name, share in judge_on_famous(
            asked, opened.detect, ScorerThresholds(), opened.detector.config.size
        ).items():
            table[name]["judge"] = share
        if sheet:  # first: the terminal may be gone
            write_sheet(sheet, done)
        if out:
            write_report(out, exam, str(opened.device), {"scores": table, "overall": table["overall"]} | about)
        _show(table, {one.task: one.prompt for one in asked})


def _show(table: ScoreTable, prompts: dict[str, str]) -> None:
    headings = ["", *next(iter(table.values()))]
    rows = [[prompts.get(name, name), *(f"{share:.2f}" for share in line.values())] for name, line in table.items()]
    show_table("the famous sentences: share of seeds whose picture is right", headings, rows)
