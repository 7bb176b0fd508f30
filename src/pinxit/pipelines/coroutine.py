"""A stage whose items are coroutines: a step resumes each until its next yield, and its return value is the result.

No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import ParallelExecutor, SerialExecutor

StepGenerator = Generator[float, None, Any]
"""Yields its progress, 0 to 1, and returns the result."""


@dataclass(eq=False)
class CoroutineState:
    """The state of an item: its coroutine, and how far it has come."""

    steps: StepGenerator
    share: float = 0.0
    result: Any = None
    ended: bool = False


class CoroutineWorker:
    """Runs one coroutine per item, as many at once as there are lanes. Each has batches of its own, of fixed shape."""

    def __init__(self, start: Callable[[WorkItem], StepGenerator], lanes: ParallelExecutor | None = None) -> None:
        self.start, self.lanes = start, lanes or SerialExecutor()
        self.width = self.lanes.count

    def rows(self, item: WorkItem) -> int:
        """One row an item."""
        return 1

    def fits(self, item: WorkItem) -> bool:
        """Always: all state is in the items."""
        return True

    def tile(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """One item a lane."""
        return list(items[: self.width])

    def begin(self, item: WorkItem) -> CoroutineState:
        """The coroutine before its first step."""
        return CoroutineState(self.start(item))

    def step(self, states: Sequence[CoroutineState]) -> None:
        """Resume each until its next yield, or its end."""
        self.lanes.run([partial(_resume, state) for state in states])

    def done(self, state: CoroutineState) -> bool:
        """Whether it has returned."""
        return state.ended

    def result(self, state: CoroutineState) -> Any:
        """What it returned."""
        return state.result

    def end(self, state: CoroutineState) -> None:
        """Close the coroutine."""
        state.steps.close()

    def progress(self, state: CoroutineState) -> float:
        """What it last yielded."""
        return state.share

    def preview(self, state: CoroutineState) -> None:
        """No preview: there is nothing to see before the end."""


def run_to_end(steps: StepGenerator) -> Any:
    """Run a coroutine without an engine; what it returns."""
    state = CoroutineState(steps)
    while not state.ended:
        _resume(state)
    return state.result


def _resume(state: CoroutineState) -> None:
    try:
        state.share = next(state.steps)
    except StopIteration as stop:
        state.result, state.ended = stop.value, True
