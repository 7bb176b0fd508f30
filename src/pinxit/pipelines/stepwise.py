"""A stage of a coroutine: each step goes on to where it yields next, and what it returns is the result. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import OneByOne, SideBySide

Course = Generator[float, None, Any]
"""Yields the share of it that is done, and returns what comes of it."""


@dataclass(eq=False)
class Going:
    """An item in the work of a coroutine."""

    course: Course
    share: float = 0.0
    result: Any = None
    ended: bool = False


class Stepwise:
    """Items never share a call: each has a batch of its own, whose shape the coroutine fixes; lanes go side by side."""

    def __init__(self, start: Callable[[WorkItem], Course], lanes: SideBySide | None = None) -> None:
        self.start, self.lanes = start, lanes or OneByOne()
        self.width = self.lanes.count

    def rows(self, item: WorkItem) -> int:
        """One."""
        return 1

    def fits(self, item: WorkItem) -> bool:
        """Always: nothing is kept but in the items."""
        return True

    def tile(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """One a lane."""
        return list(items[: self.width])

    def begin(self, item: WorkItem) -> Going:
        """The coroutine before its first step."""
        return Going(self.start(item))

    def step(self, states: Sequence[Going]) -> None:
        """Each goes on to its next yield, or ends."""
        self.lanes.run([partial(_go_on, state) for state in states])

    def done(self, state: Going) -> bool:
        """Whether it has returned."""
        return state.ended

    def result(self, state: Going) -> Any:
        """What it returned."""
        return state.result

    def end(self, state: Going) -> None:
        """Let go of what it holds."""
        state.course.close()

    def progress(self, state: Going) -> float:
        """What it last yielded."""
        return state.share

    def look(self, state: Going) -> None:
        """Nothing to see before the end."""


def ended(course: Course) -> Any:
    """What a coroutine returns, run alone."""
    state = Going(course)
    while not state.ended:
        _go_on(state)
    return state.result


def _go_on(state: Going) -> None:
    try:
        state.share = next(state.course)
    except StopIteration as stop:
        state.result, state.ended = stop.value, True
