"""The engine's thread, the only one that calls torch. It sleeps when there is nothing to compute."""

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
from pinxit.serve.catalog import ServerJob

log = logging.getLogger("pinxit.serve")
Publish = Callable[[list[Event]], None]
SNAPSHOT_SECONDS = 0.05
STUCK_SECONDS = 30.0


@dataclass(frozen=True)
class EngineLoad:
    """A snapshot of the engine's load: immutable, and replaced as a whole."""

    shares: Mapping[Job, float] = field(default_factory=dict)  # progress of unfinished jobs, 0 to 1
    waiting: Mapping[str, int] = field(default_factory=dict)  # queued items, by stage
    rows: int = 0  # items being computed
    last_turn: float = field(default_factory=time.perf_counter)


@dataclass
class StageUsage:
    """What a stage has computed so far."""

    seconds: float = 0.0
    calls: int = 0
    used: int = 0  # rows of items
    padded: int = 0  # rows that filled a tile


class MeteredEngine(Engine):
    """An engine that measures the cost of every stage and job."""

    def __init__(self, graph: Graph, publish: Publish) -> None:
        super().__init__(graph, publish=publish)
        self.usage = {name: StageUsage() for name in graph.stages}
        self.costs: dict[Job, dict[str, float]] = {}  # seconds by stage, of unfinished jobs

    def _call(self, chosen: list[WorkItem]) -> list[WorkItem]:
        """Wait first until it is stored which jobs begin: the call may kill the process. One that cannot be fails."""
        begins = [(item.job, item.job.begin()) for item in chosen if isinstance(item.job, ServerJob)]  # in one commit
        for job, stored in begins:
            try:
                if stored is not None:
                    stored.result()
            except Exception as error:
                self._close(job, "failed", error)
        return super()._call(chosen)

    def _failed(self, stage: Stage, tile: Sequence[WorkItem], error: BaseException) -> None:
        """After an error of the device all calls fail: let it end this process, so that another one takes over."""
        if isinstance(error, torch.AcceleratorError):
            raise error
        super()._failed(stage, tile, error)

    def _charge(self, stage: Stage, shares: Sequence[tuple[Job, int]], seconds: float) -> None:
        super()._charge(stage, shares, seconds)
        total, usage = sum(rows for _, rows in shares), self.usage[stage.name]
        usage.seconds, usage.calls, usage.used = usage.seconds + seconds, usage.calls + 1, usage.used + total
        usage.padded += max(0, stage.worker.width - total)
        for job, rows in shares:
            costs = self.costs.setdefault(job, {})
            costs[stage.name] = costs.get(stage.name, 0.0) + seconds * rows / total


class Runner(threading.Thread):
    """Runs an engine. In this thread, `publish` gets the events of every turn; `on_death` is called after an error."""

    def __init__(self, graph: Graph, publish: Publish, on_death: Callable[[], None] = lambda: None) -> None:
        super().__init__(name="pinxit-engine", daemon=True)
        self.engine, self.publish, self.on_death = MeteredEngine(graph, self._on_events), publish, on_death
        self.load, self.stopping = EngineLoad(), False
        self.engines = 1
        self.error: BaseException | None = None
        self._reported: dict[Job, set[Any]] = {}
        self._updated = 0.0

    def run(self) -> None:
        """Until `stop`."""
        try:
            while not self.stopping:
                self._schedule_previews()
                last_turn = self.engine.turn()
                self._report_candidates()
                self._update_load(not last_turn)
                if not last_turn:
                    self.engine.wait(1.0)
        except BaseException as error:
            log.critical("the engine stopped", exc_info=True)
            self.error = error
            self.on_death()

    def stop(self) -> None:
        """End after the call in progress."""
        self.stopping = True
        self.engine.cancel(Job([]))  # any order wakes it

    @property
    def well(self) -> bool:
        """Whether it makes progress, or has nothing to do: then it turns every second."""
        late = time.perf_counter() - self.load.last_turn
        return self.is_alive() and self.error is None and late < STUCK_SECONDS

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if event.kind != "preview":
                self._reported.pop(event.job, None)
        self.publish(events)
        for event in events:
            if event.kind != "preview":
                self.engine.costs.pop(event.job, None)

    def _schedule_previews(self) -> None:
        """Take a preview in the turn that will pass the next fraction of the progress.

        The progress of a turn is taken to be that of the last one.
        """
        for job in self.engine.jobs.values():
            if not isinstance(job, ServerJob) or not job.shares:
                continue
            share = self.engine.share(job)
            job.step, job.share = share - job.share or job.step, share
            if job.previews == 0.0 and job.looked != job.looked_before:
                job.shares.pop(0)
            due = bool(job.shares) and share + job.step >= job.shares[0]
            job.previews, job.looked_before = 0.0 if due else float("inf"), job.looked

    def _report_candidates(self) -> None:
        """Publish candidates that wait to be ranked; other values that wait are no pictures."""
        found = []
        for job in self.engine.jobs.values():
            if isinstance(job, ServerJob) and job.reports_candidates:
                shown = self._reported.setdefault(job, set())
                drawn = [item for item in job.parked if getattr(item.value, "picture", None) is not None]
                new = [item for item in drawn if item.place not in shown]
                shown.update(item.place for item in new)
                found += [Event("drawn", job, (item.place, item.value)) for item in new]
        if found:
            self.publish(found)

    def _update_load(self, now: bool) -> None:
        moment, engine = time.perf_counter(), self.engine
        if not now and moment - self._updated < SNAPSHOT_SECONDS:
            return
        self._updated = moment
        waiting: dict[str, int] = {}
        for (stage, _), items in engine.waiting.lists.items():
            waiting[stage] = waiting.get(stage, 0) + len(items)
        shares = {job: engine.share(job) for job in engine.jobs.values()}
        self.load = EngineLoad(shares, waiting, len(engine.started), moment)
