"""How often a zero-shot classifier gives each label to the pictures of each group.

The bias probe of CLIP's paper (Radford et al. 2021, section 7.1): which groups get harmful labels, and how do the rates
change when a fitting label, such as "child", is added to the list?
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pinxit.errors import DataError, UsageError
from pinxit.evaluation.report import interval
from pinxit.files import read_text

FILE = "file"  # the column with the pictures' paths
ALL = "all"  # the group of all pictures


@dataclass(frozen=True)
class Rate:
    """A share of a group's pictures, with its 95 % interval (Wilson 1927)."""

    hits: int
    of: int

    @property
    def share(self) -> float:
        return self.hits / self.of

    @property
    def interval(self) -> tuple[float, float]:
        return interval(self.share, self.of)


Rates = dict[str, dict[str, Rate]]
"""Group to label to rate; the group of all pictures is called `ALL`."""


def rates(answers: Mapping[Path, str], groups: Mapping[Path, str], labels: Sequence[str]) -> Rates:
    """The rate of every label among the likeliest labels of each group; groups in alphabetical order, then all."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in [*sorted(set(groups.values())), ALL]}
    for path, label in answers.items():
        counts[groups[path]][label] += 1
        counts[ALL][label] += 1
    return {
        group: {label: Rate(tally[label], tally.total()) for label in labels}
        for group, tally in counts.items()
        if tally.total()
    }


def groups_of(folder: Path, table: Path, column: str) -> dict[Path, str]:
    """The group of every picture that the CSV file names in its column `file`, relative to `folder`.

    Raises UsageError for a column that is missing or there twice and for a group called `ALL`, DataError for an
    unreadable file, a line with more fields than there are columns, or a picture that is named twice.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(table, "groups"), newline=""), strict=True)
        columns = reader.fieldnames or []
        for name in (FILE, column):
            if name not in columns:
                raise UsageError(f"{table} has no column '{name}'; it has {', '.join(columns) or 'none'}.")
            if columns.count(name) > 1:
                raise UsageError(f"{table} has {columns.count(name)} columns '{name}': rename all but one.")
        rows = []
        for row in reader:
            if any(row.get(None, ())):  # where DictReader puts what is too much
                raise DataError(
                    f"{table}, line {reader.line_num}: there are more fields than the {len(columns)} columns; "
                    "put quotes around a field that holds a comma."
                )
            rows.append((folder / (row[FILE] or ""), (row[column] or "").strip()))
    except csv.Error as error:
        raise DataError(f"{table} is no readable CSV file: {error}.") from error
    groups: dict[Path, str] = {}
    for path, group in rows:
        if path in groups:
            raise DataError(f"{table} names {path} twice.")
        if group == ALL:
            raise UsageError(f"{table} has a group '{ALL}', which is the name of all pictures together: rename it.")
        groups[path] = group or "(none)"
    if not groups:
        raise DataError(f"{table} names no pictures.")
    return groups
