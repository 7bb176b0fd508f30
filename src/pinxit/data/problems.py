"""Broken items of a dataset: skipped, counted, named and reported at the end; never fatal, never silent."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pinxit.errors import DataError, UsageError
from pinxit.texts import check_list, check_text, printable
from pinxit.types import Dataset, Example, check_pixels

NAMED = 10  # the most problems named in a report


class ItemError(DataError):
    """One item of a dataset cannot be used; `key` names it and `reason` says why."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}."


@dataclass(frozen=True, slots=True)
class Problem:
    """A file or item that was skipped."""

    key: str
    reason: str


class Problems:
    """A growing list of problems, with a report for the user."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self._problems = list(problems)

    def add(self, key: str, reason: str) -> None:
        """Note that `key` was skipped because of `reason` ("is truncated")."""
        self._problems.append(Problem(key, reason))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Note several problems."""
        self._problems.extend(problems)

    def __len__(self) -> int:
        return len(self._problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems)

    def report(self, named: int = NAMED) -> str:
        """One line: how many items were skipped and which, the first `named` of them; "" if none was.

        What a terminal would obey in their names is escaped: files may be called anything.
        """
        if not self._problems:
            return ""
        names = ", ".join(f"{problem.key} ({problem.reason})" for problem in self._problems[:named])
        more = len(self._problems) - named
        rest = f" and {more} more" if more > 0 else ""
        return printable(f"skipped {len(self._problems)}: {names}{rest}.")

    def log(self) -> None:
        """Send the report, if there is one, to the logger "pinxit", which prints to stderr unless told otherwise."""
        if self._problems:
            logging.getLogger("pinxit").warning("%s", self.report())


def read(dataset: Dataset, index: int) -> Example | Problem:
    """Item `index`, or the problem if it cannot be used: it is broken, or a program made it of other types."""
    try:
        item = dataset[index]
    except ItemError as broken:
        return Problem(broken.key, broken.reason)
    try:
        check_pixels(item.picture)
        check_list(item.captions, "its captions")
        captions = [check_text(caption, "its caption").strip() for caption in item.captions]
    except UsageError as wrong:
        return Problem(item.key, str(wrong).rstrip("."))
    return item if captions and all(captions) else Problem(item.key, "has no caption, or an empty one")


def usable_items(dataset: Dataset, indices: Iterable[int], problems: Problems) -> Iterator[Example]:
    """The usable items at `indices`; the others are added to `problems`."""
    for index in indices:
        item = read(dataset, index)
        if isinstance(item, Problem):
            problems.extend([item])
        else:
            yield item
