"""The engine's own thread: alone with torch and with what is under way. It sleeps when there is nothing to do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pinxit.pipelines.engine import Engine
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.work import Event, Job, WorkItem
from pinxit.serve.catalog import Order

log = logging.getLogger("pinxit.serve")
Publish = Callable[[list[Event]], None]
SNAPSHOT_SECONDS = 0.05
STUCK_SECONDS = 30.0


@dataclass(frozen=True)
class Load:
    """What the engine is doing: one value that is never changed, swapped for a newer one."""

    shares: Mapping[Job, float] = field(default_factory=dict)  # of jobs that live, how far they have come
    waiting: Mapping[str, int] = field(default_factory=dict)  # items that have not begun, by stage
    rows: int = 0  # that are held
    turned: float = field(default_factory=time.perf_counter)


@dataclass
class Spent:
    """What a stage has cost."""

    seconds: float = 0.0
    calls: int = 0
    used: int = 0  # rows that were somebody's
    padded: int = 0


class Metered(Engine):
    """Knows what every stage and every job has cost."""

    def __init__(self, graph: Graph, publish: Publish) -> None:
        super().__init__(graph, publish=publish)
        self.spent = {name: Spent() for name in graph.stages}
        self.costs: dict[Job, dict[str, float]] = {}  # seconds by stage, of jobs that live

    def _failed(self, stage: Stage, tile: Sequence[WorkItem], error: Exception) -> None:
        """After an error of the device everything else fails too, in this process: it ends, and another one starts."""
        if isinstance(error, torch.AcceleratorError):
            raise error
        super()._failed(stage, tile, error)

    def _charge(self, stage: Stage, shares: Sequence[tuple[Job, int]], seconds: float) -> None:
        super()._charge(stage, shares, seconds)
        total, spent = sum(rows for _, rows in shares), self.spent[stage.name]
        spent.seconds, spent.calls, spent.used = spent.seconds + seconds, spent.calls + 1, spent.used + total
        spent.padded += max(0, stage.worker.width - total)
        for job, rows in shares:
            costs = self.costs.setdefault(job, {})
            costs[stage.name] = costs.get(stage.name, 0.0) + seconds * rows / total


class Runner(threading.Thread):
    """Turns an engine. `publish` is called in this thread with every turn's events, `died` when an error ends it."""

    def __init__(self, graph: Graph, publish: Publish, died: Callable[[], None] = lambda: None) -> None:
        super().__init__(name="pinxit-engine", daemon=True)
        self.engine, self.publish, self.died = Metered(graph, self._told), publish, died
        self.load, self.stopping = Load(), False
        self.engines = 1
        self.error: BaseException | None = None
        self._shown: dict[Job, set[Any]] = {}
        self._swapped = 0.0

    def run(self) -> None:
        """Until `stop`."""
        try:
            while not self.stopping:
                self._ask_looks()
                turned = self.engine.turn()
                self._show_drawn()
                self._swap(not turned)
                if not turned:
                    self.engine.wait(1.0)
        except BaseException as error:
            log.critical("the engine stopped", exc_info=True)
            self.error = error
            self.died()

    def stop(self) -> None:
        """End after the call that is under way."""
        self.stopping = True
        self.engine.cancel(Job([]))  # an order, so that it wakes

    @property
    def well(self) -> bool:
        """Whether it moves, or has nothing to do."""
        late = time.perf_counter() - self.load.turned
        return self.is_alive() and self.error is None and (not self.load.shares or late < STUCK_SECONDS)

    def _told(self, events: list[Event]) -> None:
        for event in events:
            if event.kind != "preview":
                self._shown.pop(event.job, None)
        self.publish(events)
        for event in events:
            if event.kind != "preview":
                self.engine.costs.pop(event.job, None)

    def _ask_looks(self) -> None:
        """Looks at shares of the way: the turn that will pass one, if it goes as far as the last one, is looked at."""
        for job in self.engine.jobs.values():
            if not isinstance(job, Order) or not job.shares:
                continue
            share = self.engine.share(job)
            job.step, job.share = share - job.share or job.step, share
            if job.previews == 0.0 and job.looked != job.looked_before:
                job.shares.pop(0)
            due = bool(job.shares) and share + job.step >= job.shares[0]
            job.previews, job.looked_before = 0.0 if due else float("inf"), job.looked

    def _show_drawn(self) -> None:
        """Candidates that wait to be ranked; what else waits for others is no picture."""
        found = []
        for job in self.engine.jobs.values():
            if isinstance(job, Order) and job.shows_drawn:
                shown = self._shown.setdefault(job, set())
                drawn = [item for item in job.parked if getattr(item.value, "picture", None) is not None]
                new = [item for item in drawn if item.place not in shown]
                shown.update(item.place for item in new)
                found += [Event("drawn", job, (item.place, item.value)) for item in new]
        if found:
            self.publish(found)

    def _swap(self, now: bool) -> None:
        moment, engine = time.perf_counter(), self.engine
        if not now and moment - self._swapped < SNAPSHOT_SECONDS:
            return
        self._swapped = moment
        waiting: dict[str, int] = {}
        for (stage, _), items in engine.waiting.lists.items():
            waiting[stage] = waiting.get(stage, 0) + len(items)
        shares = {job: engine.share(job) for job in engine.jobs.values()}
        self.load = Load(shares, waiting, len(engine.started), moment)
