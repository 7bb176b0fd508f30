"""What the model cards of all painters share: training facts, exam scores and licence."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from pinxit.config import as_set
from pinxit.data.sources import WORLD
from pinxit.errors import DataError
from pinxit.evaluation.report import cells
from pinxit.files import read_json, write_text
from pinxit.recipes.staging import Run, say
from pinxit.schema import Count
from pinxit.training.log import duration
from pinxit.weights.checkpoint import Part, open_checkpoint, save_checkpoint

SCORES = "scores.json"  # in the run's folder: the exam's report
Card = Callable[[Mapping[str, Any], Mapping[str, Any] | None], str]
"""(provenance, the exam's report or None) -> the model card."""
ASKED = ("split", "prompts", "language", "words", "seed")  # the exam's settings, named as the command's options


class _Painter(TypedDict):
    checkpoint_hash: str


class _Report(TypedDict):
    painter: _Painter
    scores: dict[str, Any]
    exam: dict[str, Any]
    judge: dict[str, Any]
    machine: dict[str, Any]
    candidates: Count
    date: str


def report_of(run: Run[Any], checkpoint_hash: str) -> Mapping[str, Any] | None:
    """The report in RUN/scores.json; None where there is none, or where it is about other weights than the checkpoint.

    Raises DataError for a file that is no report.
    """
    path = run.folder / SCORES
    if not path.is_file():
        return None
    advice = "it is no report of a painter by 'pinxit eval world': remove it"
    report = read_json(path, _Report, DataError, advice)
    painter = report["painter"]["checkpoint_hash"]
    if painter != checkpoint_hash:
        say(run, f"the card has no scores: {path} is of checkpoint {painter}, not of {checkpoint_hash}")
        return None
    return dict(report)


def save_with_card(
    run: Run[Any], recipe: str, parts: Mapping[str, Part], facts: Mapping[str, Any], card: Card, **more: Any
) -> None:
    """Write RUN/checkpoint with a model card.

    `card` makes it from `facts`, the provenance, and from the report in RUN/scores.json, if that is about the same
    weights. `more` goes to `save_checkpoint`.
    """
    folder = run.path("checkpoint")
    save_checkpoint(folder, recipe, parts, provenance=facts, card=card(facts, None), store=run.config.store, **more)
    if report := report_of(run, open_checkpoint(folder).hash):  # the hash does not cover the card, so it may change
        write_text(folder / "README.md", card(facts, report))


def table(stages: Mapping[str, Mapping[str, Any]], shown: Sequence[str]) -> str:
    """A Markdown table of a checkpoint's stages: images, time, machine, and the last value of each `shown` metric."""
    rows = "\n".join(_row(name, facts, shown) for name, facts in stages.items())
    return f"| stage | images seen | time | machine | last figures |\n|---|---|---|---|---|\n{rows}"


def scores(recipe: str, source: str, report: Mapping[str, Any] | None) -> str:
    """The exam's results as Markdown, or the commands that measure them."""
    if report is not None:
        return _measured(report)
    if not source.startswith(WORLD):
        return "There is no exam for it: only of the built-in world is it known what every picture must show."
    judge = "" if source == f"{WORLD}small" else " --judge JUDGE"
    return f"""Not measured yet. The first command measures, the second writes what it found here:

    pinxit eval world --checkpoint RUN/checkpoint{judge} --split unseen --prompts 500 --candidates 16 --out RUN/{SCORES}
    pinxit train {recipe} --out RUN --stages checkpoint"""


def licence(source: str) -> str:
    """The licence of the weights, by the data that they were trained on."""
    if source.startswith(WORLD):
        return "Apache-2.0, as pinxit itself, whose NOTICE names the makers of the drawings in its world."
    return "pinxit is under Apache-2.0; for weights trained on other pictures, the terms of those pictures apply."


def _row(name: str, facts: Mapping[str, Any], shown: Sequence[str]) -> str:
    numbers = ", ".join(f"{key} {facts[key]:.4g}" for key in shown if facts.get(key) is not None)
    place = _place(facts.get("machine", {}))
    return f"| {name} | {facts['images']:,} | {duration(facts['hours'] * 3600)} | {place} | {numbers} |"


def _place(machine: Mapping[str, Any]) -> str:
    if not machine:
        return "not noted"  # by an older pinxit
    return f"{machine['device']}, {machine['cores']} CPU cores, torch {machine['torch']}"


def _measured(report: Mapping[str, Any]) -> str:
    headings, rows = cells(report["scores"])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows))
    exam, judge = report["exam"], report["judge"]
    words = ["pinxit", "eval", "world", "--checkpoint", "FOLDER", "--judge", judge["name"]]
    for name in ASKED:
        words += [f"--{name}", str(exam[name])] if name in exam else []
    words += ["--candidates", str(report["candidates"])]
    for name, value in report.get("settings", {}).items():
        words += ["--set", f"{name}={as_set(value)}"]
    return f"""{report["date"]}, {_place(report["machine"])}, judge {judge["name"]} ({judge["hash"]}):

    {shlex.join(words)}

{lines}"""
