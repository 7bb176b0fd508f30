"""What a worker is, and the worker that calls a function: for text, pixels, ranking. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pinxit.pipelines.work import WorkItem


class Worker(Protocol):
    """What computes a stage. A call is one `step` of the items that share it; an item may take many steps.

    `tile` is given the items that are ready, in the policy's order, and returns those that share the call: always the
    first, and no more rows than `width`. Where items keep their rows, none begins before one that waits for more. An
    item that has begun keeps its `state` until `end`, also between calls.
    """

    width: int  # most rows of a call

    def rows(self, item: WorkItem) -> int:
        """How many rows the item takes."""
        ...

    def fits(self, item: WorkItem) -> bool:
        """Whether the item could begin now."""
        ...

    def tile(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """The items that share the call."""
        ...

    def begin(self, item: WorkItem) -> Any:
        """Begin an item; its state, not None. Raises UsageError for one that cannot be computed."""
        ...

    def step(self, states: Sequence[Any]) -> None:
        """One step of each."""
        ...

    def done(self, state: Any) -> bool:
        """Whether there is a result."""
        ...

    def result(self, state: Any) -> Any:
        """The result. A list scatters: each element becomes an item."""
        ...

    def end(self, state: Any) -> None:
        """Free the item's rows, whether it finished or not."""
        ...

    def progress(self, state: Any) -> float:
        """How far it has come, 0 to 1."""
        ...

    def preview(self, state: Any) -> Any:
        """A preview of what there is so far, or None."""
        ...


class ParallelExecutor(Protocol):
    """Runs calls in parallel: `pipelines.lanes.Lanes`."""

    count: int

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The calls' results, in their order; raises the first error when all have ended."""
        ...


class SerialExecutor:
    """Runs calls one after the other."""

    count = 1

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The calls' results, in their order."""
        return [call() for call in calls]


@dataclass(eq=False)
class CallState:
    """The state of an item: its result, once the function has returned it."""

    item: WorkItem
    results: list[Any]


class FunctionWorker:
    """A worker that calls a function from at most `tile` items to one value each, for as many tiles as there are lanes.

    The function itself pads to its fixed shape, as only it knows the items' type. A value that is a list scatters.
    """

    def __init__(
        self,
        function: Callable[[Sequence[WorkItem]], Sequence[Any]],
        tile: int = 1,
        lanes: ParallelExecutor | None = None,
    ) -> None:
        self.function, self.most, self.lanes = function, tile, lanes or SerialExecutor()
        self.width = tile * self.lanes.count

    def rows(self, item: WorkItem) -> int:
        """One row an item."""
        return 1

    def fits(self, item: WorkItem) -> bool:
        """Always: nothing is kept between calls."""
        return True

    def tile(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """As many as a call takes."""
        return list(items[: self.width])

    def begin(self, item: WorkItem) -> CallState:
        """Nothing to prepare."""
        return CallState(item, [])

    def step(self, states: Sequence[CallState]) -> None:
        """Call the function. Few items are spread over the lanes rather than filling a tile."""
        size = min(self.most, -(-len(states) // self.lanes.count))
        tiles = [states[start : start + size] for start in range(0, len(states), size)]

        calls = [partial(self.function, [state.item for state in tile]) for tile in tiles]
        for tile, values in zip(tiles, self.lanes.run(calls), strict=True):
            for state, value in zip(tile, values, strict=True):
                state.results.append(value)

    def done(self, state: CallState) -> bool:
        """After one step."""
        return bool(state.results)

    def result(self, state: CallState) -> Any:
        """What the function returned."""
        return state.results[0]

    def end(self, state: CallState) -> None:
        """Nothing to free."""

    def progress(self, state: CallState) -> float:
        """0 before the end."""
        return 0.0

    def preview(self, state: CallState) -> None:
        """No preview: there is nothing to see before the end."""


def items_that_fit(worker: Worker, items: Sequence[WorkItem]) -> Iterator[WorkItem]:
    """The items that fit into one call, in order; one that does not fit is skipped in favour of later ones."""
    free = worker.width
    for item in items:
        rows = worker.rows(item)
        if rows <= free:
            free -= rows
            yield item
