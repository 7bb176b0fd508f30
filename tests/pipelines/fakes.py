"""Workers without a network, whose results tell whether rows were mixed up, skipped or fed twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pinxit.errors import UsageError
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.work import Job, WorkItem
from pinxit.pipelines.worker import FunctionWorker, items_that_fit

WIDTH, TILE = 4, 3
POISON = 13  # a value divisible by it breaks every call that it is in


class Clock:
    """Time that passes when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class CrashError(Exception):
    """What a broken call raises."""


def mixed(a: int, b: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr((a, b)).encode(), digest_size=4).digest(), "big")


def steps(value: int) -> int:
    return 1 + value % 4


def wide(value: int) -> int:
    return 1 + value % 2


def drawn(value: int) -> int:
    """What a drawing stage gives: the mix of its row's whole history."""
    found = value
    for step in range(steps(value)):
        found = mixed(found, step)
    return found


@dataclass(eq=False)
class Row:
    item: WorkItem
    cells: list[int]
    taken: int = 0
    alive: bool = True


class Drawing:
    """A stage of many steps; `pinned`: items keep their cells of a cache until they end."""

    width = WIDTH

    def __init__(self, clock: Clock, pinned: bool) -> None:
        self.clock, self.pinned = clock, pinned
        self.cells: list[int | None] = [None] * (WIDTH if pinned else 10_000)
        self.crash = False  # the next step breaks
        self.error: type[BaseException] = CrashError
        self.calls, self.busy = 0, 0.0

    def rows(self, item: WorkItem) -> int:
        return wide(item.value)

    def fits(self, item: WorkItem) -> bool:
        return self.cells.count(None) >= self.rows(item)

    def tile(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        if not self.pinned:
            return list(items_that_fit(self, items))
        free, found = self.cells.count(None), []
        for item in items:
            if item.state is None and self.rows(item) > free:
                free = 0
                continue
            free -= 0 if item.state is not None else self.rows(item)
            found.append(item)
        return found

    def begin(self, item: WorkItem) -> Row:
        if item.value % 17 == 0:
            raise UsageError("no multiple of 17 is drawn")
        cells = [k for k, one in enumerate(self.cells) if one is None][: self.rows(item)]
        assert len(cells) == self.rows(item), "nobody begins who does not fit"
        for cell in cells:
            self.cells[cell] = item.value
        return Row(item, cells)

    def step(self, states: Sequence[Row]) -> None:
        assert states and len(set(map(id, states))) == len(states), "no call is empty"
        assert sum(len(state.cells) for state in states) <= WIDTH
        assert all(state.alive for state in states), "nothing is stepped after its end"
        assert len(states) == 1 or not any(state.item.tries for state in states), "what failed is tried alone"
        self.calls += 1
        self.busy += 0.5
        self.clock.now += 0.5
        for state in states:
            for cell in state.cells:
                self.cells[cell] = mixed(self.cells[cell] or 0, state.taken)
            state.taken += 1
        if self.crash or any(state.item.value % POISON == 0 for state in states):
            self.crash = False
            raise self.error("a call broke")

    def done(self, state: Row) -> bool:
        assert state.alive
        return state.taken == steps(state.item.value)

    def result(self, state: Row) -> int:
        found = {self.cells[cell] for cell in state.cells}
        assert len(found) == 1
        return found.pop() or 0

    def end(self, state: Row) -> None:
        assert state.alive, "everything ends once"
        state.alive = False
        for cell in state.cells:
            self.cells[cell] = None

    def progress(self, state: Row) -> float:
        return state.taken / steps(state.item.value)

    def preview(self, state: Row) -> Any:
        return self.cells[state.cells[0]]


@dataclass(frozen=True)
class Asked:
    value: int
    candidates: int
    keep: int


class House:
    """A graph like a painter's: text -> draw -> pixels -> rank -> up."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.draw, self.up = Drawing(self.clock, pinned=True), Drawing(self.clock, pinned=False)
        self.joins: list[tuple[Job, int]] = []
        self.sizes: list[int] = []
        self.graph = Graph(
            [
                Stage("text", FunctionWorker(lambda items: [self.read(item) for item in items])),
                Stage("draw", self.draw, weight=2.0, shown="pixels"),
                Stage("pixels", FunctionWorker(self.pixels, TILE)),
                Stage("rank", FunctionWorker(lambda items: [self.rank(item) for item in items]), gather=True),
                Stage("up", self.up, weight=1.0),
            ],
            {"paint": ("text", "draw", "pixels", "rank", "up")},
        )

    @staticmethod
    def read(item: WorkItem) -> list[int]:
        return candidates(item.job.request)

    def pixels(self, items: Sequence[WorkItem]) -> list[int]:
        assert 0 < len(items) <= TILE
        self.sizes.append(len(items))
        return [mixed(item.value, 99) for item in items]

    def rank(self, item: WorkItem) -> list[int]:
        self.joins.append((item.job, len(item.value)))
        return best([one.value for one in item.value], item.job.request.keep)


def candidates(asked: Asked) -> list[int]:
    return [mixed(asked.value, k) % 1000 for k in range(asked.candidates)]


def best(values: Sequence[int], keep: int) -> list[int]:
    return sorted(values)[:keep]


def solo(asked: Asked, without: Sequence[int] = ()) -> list[int]:
    """What the job gives by the definition, without the candidates that were dropped."""
    left = [value for k, value in enumerate(candidates(asked)) if k not in without]
    return [drawn(value) for value in best([mixed(drawn(value), 99) for value in left], asked.keep)]


def job(asked: Asked, **about: Any) -> Job:
    return Job(starts=[(("text", "draw", "pixels", "rank", "up"), None)], request=asked, **about)
