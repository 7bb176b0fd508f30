"""Scores as a table, with GenEval's columns first, and their confidence intervals."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence

from pinxit.world.tasks import TASKS

ScoreTable = dict[str, dict[str, float]]
"""Lines by name, each with scores by column: {"best of 16": {"counting": 0.8, "overall": 0.9}}."""

Intervals = dict[str, dict[str, tuple[float, float]]]
"""The same with the low and the high end of each score's 95 % interval."""


def score_table(values: Iterable[tuple[str, float]]) -> ScoreTable:
    """A table of ("line/column", value) pairs."""
    table: ScoreTable = {}
    for name, value in values:
        line, _, column = name.rpartition("/")
        table.setdefault(line, {})[column] = value
    return table


def column_names(table: ScoreTable) -> list[str]:
    """The columns in order: overall, GenEval's six tasks, then this world's own; only those that some line has."""
    present = {column for line in table.values() for column in line}
    extras = [c for line in table.values() for c in line if c not in TASKS and c != "overall"]
    return [c for c in ("overall", *TASKS, *dict.fromkeys(extras)) if c in present]


def cells(table: ScoreTable) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text; a missing score is a dash."""
    names = column_names(table)
    rows = [[line, *(_number(scores.get(name)) for name in names)] for line, scores in table.items()]
    return ["", *names], rows


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def interval(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` independent yes or no answers (Wilson 1927)."""
    if count == 0:
        return 0.0, 1.0
    middle = share + z * z / (2 * count)
    half = z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    scale = 1 + z * z / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def intervals(table: ScoreTable, asked: Sequence[str]) -> Intervals:
    """The 95 % interval of every score, given each prompt's task; `overall` counts the prompts of its six tasks."""
    counts = Counter(asked)
    counts["overall"] = sum(counts[task] for task in TASKS)
    return {
        line: {name: interval(share, counts[name]) for name, share in scores.items()} for line, scores in table.items()
    }


def today() -> str:
    """The date in UTC, in ISO format."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def marked(prompts: Sequence[str], complaints: Sequence[str]) -> list[str]:
    """Captions for a contact sheet: each prompt, and what is wrong with its picture."""
    return [f"✓ {p}" if not c else f"✗ {p} ({c})" for p, c in zip(prompts, complaints, strict=True)]
