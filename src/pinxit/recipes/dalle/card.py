"""The model card of a DALL-E: what it is, how it was trained and on what, what it scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pinxit.data.sources import WORLD
from pinxit.errors import DataError
from pinxit.evaluation.report import cells
from pinxit.recipes.command import command
from pinxit.recipes.dalle.presets import PRESETS
from pinxit.recipes.dalle.run import RECIPE, DalleRun
from pinxit.recipes.staging import say
from pinxit.training.log import duration

SHOWN = ("loss", "mse", "text", "image", "right")  # last figures of a stage
SCORES = "scores.json"  # in the run's folder: the exam's report
ASKED = ("split", "prompts", "language", "words", "seed")  # of an exam, as the command has them


def card(run: DalleRun, facts: Mapping[str, Any], report: Mapping[str, Any] | None = None) -> str:
    """The card; `facts` is the checkpoint's provenance, `report` what `pinxit eval world --out` wrote of it."""
    config, source = run.config, run.config.data.source
    start = f", started from checkpoint {facts['started_from']}" if facts["started_from"] else ""
    line = command(RECIPE, config, PRESETS, "CHECKPOINT" if start else None)
    rows = "\n".join(_row(name, told) for name, told in facts["stages"].items())
    return f"""# A DALL-E for {source}

Paints pictures of {config.dvae.size} pixels from a sentence: a transformer of width {config.transformer.dim} and depth
{config.transformer.depth} writes the picture as {_codes(run, facts["codes"])}, the discrete VAE draws them, CLIP ranks
the candidates. After "Zero-Shot Text-to-Image Generation" (arXiv 2102.12092) and "Learning Transferable Visual Models
From Natural Language Supervision" (arXiv 2103.00020).

    pinxit paint "a sentence" --checkpoint FOLDER

## Training

Trained from nothing but {facts["pictures"]:,} pictures of {source} and their captions,
with seed {facts["seed"]}{start}; weights are running averages, stored in {config.store}. The command:

    {line}

| stage | images seen | time | machine | last figures |
|---|---|---|---|---|
{rows}

## Scores

{_scores(source, report)}

## Limits

It knows the things, colours, counts and relations of its training captions and nothing else of the world; prompts with
other words are painted as guesses. Photographs of people, places or events were not among its data unless the source
above holds them.

## Licence

{_licence(source)}
"""


def report_of(run: DalleRun, checkpoint_hash: str) -> Mapping[str, Any] | None:
    """What RUN/scores.json says of the checkpoint; None where there is none, or one of other weights.

    Raises DataError for a file that is no report.
    """
    path = run.folder / SCORES
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        painter, _ = found["painter"]["checkpoint_hash"], found["scores"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no report of a painter by 'pinxit eval world' ({error}); remove it.") from error
    if painter != checkpoint_hash:
        say(run, f"the card has no scores: {path} is of checkpoint {painter}, not of {checkpoint_hash}")
        return None
    return dict(found)


def _codes(run: DalleRun, usage: Mapping[str, float]) -> str:
    grid, dvae = run.config.transformer.grid, run.config.dvae
    used = f" ({usage['share_used']:.1%} in use, perplexity {usage['perplexity']:,.0f})" if usage else ""
    return f"{dvae.quantiser} codes, {grid} x {grid} of {dvae.codes:,}{used}"


def _row(name: str, told: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{key} {told[key]:.4g}" for key in SHOWN if told.get(key) is not None)
    return f"| {name} | {told['images']:,} | {duration(told['hours'] * 3600)} | {_place(told['machine'])} | {numbers} |"


def _place(machine: Mapping[str, Any]) -> str:
    if not machine:
        return "not noted"  # by an older pinxit
    return f"{machine['device']}, {machine['cores']} CPU cores, torch {machine['torch']}"


def _scores(source: str, report: Mapping[str, Any] | None) -> str:
    if report is not None:
        return _measured(report)
    if not source.startswith(WORLD):
        return "There is no exam for it: only of the built-in world is it known what every picture must show."
    judge = "" if source == f"{WORLD}small" else " --judge JUDGE"
    return f"""Not measured yet. The first command measures, the second writes what it found here:

    pinxit eval world --checkpoint RUN/checkpoint{judge} --split unseen --prompts 500 --candidates 16 --out RUN/{SCORES}
    pinxit train dalle --out RUN --stages checkpoint"""


def _measured(report: Mapping[str, Any]) -> str:
    headings, rows = cells(report["scores"])
    table = "\n".join(f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows))
    exam, judge = report["exam"], report["judge"]
    asked = [f"--{name} {exam[name]}" for name in ASKED if name in exam] + [f"--candidates {report['candidates']}"]
    asked += [f"--set {name}={value}" for name, value in report.get("settings", {}).items()]
    return f"""{report["date"]}, {_place(report["machine"])}, judge {judge["name"]} ({judge["hash"]}):

    pinxit eval world --checkpoint FOLDER --judge {judge["name"]} {" ".join(asked)}

{table}"""


def _licence(source: str) -> str:
    if source.startswith(WORLD):
        return "Apache-2.0, as pinxit itself, whose NOTICE names the makers of the drawings in its world."
    return "pinxit is under Apache-2.0; the licence of weights that learnt from other pictures rests with their owners."
