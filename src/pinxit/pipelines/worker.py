"""What a worker is, and the worker that a function makes: text, pixels, ranking. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pinxit.pipelines.work import WorkItem


class Worker(Protocol):
    """What computes a stage. A call is one `step` of the items that share it; an item may take many.

    `tile` is asked with the items that are ready, in the policy's order, and says who shares the call: always the first
    one, and no more rows than `width`. An item that has begun keeps its `state` until `end`, between calls too.
    """

    width: int  # rows that a call computes at most

    def rows(self, item: WorkItem) -> int:
        """How many rows the item takes."""
        ...

    def fits(self, item: WorkItem) -> bool:
        """Whether the item could begin now."""
        ...

    def tile(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """Who shares the call."""
        ...

    def begin(self, item: WorkItem) -> Any:
        """Take the item in; its state, not None. Raises UsageError for one that cannot be served."""
        ...

    def step(self, states: Sequence[Any]) -> None:
        """One step of these and no others."""
        ...

    def done(self, state: Any) -> bool:
        """Whether there is a result."""
        ...

    def result(self, state: Any) -> Any:
        """It. A list scatters: one item each."""
        ...

    def end(self, state: Any) -> None:
        """Give the item's rows back, whatever came of it."""
        ...

    def progress(self, state: Any) -> float:
        """How far it has come, 0 to 1."""
        ...

    def look(self, state: Any) -> Any:
        """What there is so far, for a preview; None: nothing to see."""
        ...


class SideBySide(Protocol):
    """What runs calls at the same time: `pipelines.lanes.Lanes`."""

    count: int

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """What each gives, in their order; the first error, when all have ended."""
        ...


class OneByOne:
    """The same, one after the other."""

    count = 1

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """What each gives, in their order."""
        return [call() for call in calls]


@dataclass(eq=False)
class Doing:
    """An item in the work of a function."""

    item: WorkItem
    results: list[Any]


class Each:
    """A stage of a function from at most `tile` items to as many values, a call for every tile, tiles side by side.

    The function pads to its fixed shape itself: it knows of what. A value that is a list scatters.
    """

    def __init__(
        self, function: Callable[[Sequence[WorkItem]], Sequence[Any]], tile: int = 1, lanes: SideBySide | None = None
    ) -> None:
        self.function, self.most, self.lanes = function, tile, lanes or OneByOne()
        self.width = tile * self.lanes.count

    def rows(self, item: WorkItem) -> int:
        """One."""
        return 1

    def fits(self, item: WorkItem) -> bool:
        """Always: nothing is kept between calls."""
        return True

    def tile(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """As many as a call takes."""
        return list(items[: self.width])

    def begin(self, item: WorkItem) -> Doing:
        """Nothing to prepare."""
        return Doing(item, [])

    def step(self, states: Sequence[Doing]) -> None:
        """All there is to do. Items are spread over the lanes before a tile is filled."""
        size = min(self.most, -(-len(states) // self.lanes.count))
        tiles = [states[start : start + size] for start in range(0, len(states), size)]

        calls = [partial(self.function, [state.item for state in tile]) for tile in tiles]
        for tile, values in zip(tiles, self.lanes.run(calls), strict=True):
            for state, value in zip(tile, values, strict=True):
                state.results.append(value)

    def done(self, state: Doing) -> bool:
        """After one step."""
        return bool(state.results)

    def result(self, state: Doing) -> Any:
        """What the function gave."""
        return state.results[0]

    def end(self, state: Doing) -> None:
        """Nothing to give back."""

    def progress(self, state: Doing) -> float:
        """None before the end."""
        return 0.0

    def look(self, state: Doing) -> None:
        """Nothing to see before the end."""


def filled(worker: Worker, items: Sequence[WorkItem]) -> Iterator[WorkItem]:
    """The items that fit into one call of free rows, in order; one that is too wide leaves room for those behind it."""
    free = worker.width
    for item in items:
        rows = worker.rows(item)
        if rows <= free:
            free -= rows
            yield item
