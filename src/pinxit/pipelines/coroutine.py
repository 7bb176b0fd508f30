"""A stage of a coroutine: each step goes on to the next yield, and what it returns is the result. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import OneByOne, SideBySide

StepGenerator = Generator[float, None, Any]
"""Yields the share of it that is done, and returns what comes of it."""


@dataclass(eq=False)
class Running:
    """An item in the work of a coroutine."""

    steps: StepGenerator
    share: float = 0.0
    result: Any = None
    ended: bool = False


class CoroutineWorker:
    """Items never share a call: each has a batch of its own, whose shape the coroutine fixes; lanes go side by side."""

    def __init__(self, start: Callable[[WorkItem], StepGenerator], lanes: SideBySide | None = None) -> None:
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

    def begin(self, item: WorkItem) -> Running:
        """The coroutine before its first step."""
        return Running(self.start(item))

    def step(self, states: Sequence[Running]) -> None:
        """Each goes on to its next yield, or ends."""
        self.lanes.run([partial(_go_on, state) for state in states])

    def done(self, state: Running) -> bool:
        """Whether it has returned."""
        return state.ended

    def result(self, state: Running) -> Any:
        """What it returned."""
        return state.result

    def end(self, state: Running) -> None:
        """Let go of what it holds."""
        state.steps.close()

    def progress(self, state: Running) -> float:
        """What it last yielded."""
        return state.share

    def look(self, state: Running) -> None:
        """Nothing to see before the end."""


def run_to_end(steps: StepGenerator) -> Any:
    """What a coroutine returns, run alone."""
    state = Running(steps)
    while not state.ended:
        _go_on(state)
    return state.result


def _go_on(state: Running) -> None:
    try:
        state.share = next(state.steps)
    except StopIteration as stop:
        state.result, state.ended = stop.value, True
