"""The bookkeeping of items: they arrive at a stage, wait, join, scatter, end and are dropped. No torch here."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pinxit.errors import UsageError
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.policy import WaitingItems
from pinxit.pipelines.work import Event, Job, Place, WorkItem


class JobTracker:
    """Jobs in progress. It moves items and computes nothing; `Engine` decides what is computed next."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.jobs: dict[int, Job] = {}
        self.clients: Counter[str] = Counter()  # how many jobs each has
        self.waiting = WaitingItems()
        self.again: list[WorkItem] = []  # items that failed once and are to be tried again, alone
        self.started: list[WorkItem] = []
        self.events: list[Event] = []
        self._seq = itertools.count()

    def _pass_on(self, item: WorkItem, value: Any) -> None:
        """An item leaves its stage with `value`, for the next one or as a result; a list scatters."""
        job = item.job
        self._end(item)
        if item.preview:
            self._show(job, item.place, value)
            return
        self._gone(item)
        job.looks.pop(item.place, None)
        parts = (
            {(*item.place, k): one for k, one in enumerate(value)} if isinstance(value, list) else {item.place: value}
        )
        if item.at + 1 == len(item.route):
            job.results |= parts
            job.passed += len(parts)
        else:
            self._enter([WorkItem(job, item.route, item.at + 1, place, part) for place, part in parts.items()])
        self._perhaps_join(job)
        self._perhaps_done(job)

    def _enter(self, items: Sequence[WorkItem]) -> None:
        for item in items:  # all are registered before the first arrives, so that no join fires early
            item.job.items.add(item)
            item.job.passed += self.graph.share_behind(item.route, item.at)
        for item in items:
            self._arrive(item)

    def _arrive(self, item: WorkItem) -> None:
        stage = self._stage(item)
        if item.job.outcome is not None:
            return
        if stage.gather:
            item.job.parked.append(item)
            self._perhaps_join(item.job)
        elif stage.worker.rows(item) > stage.worker.width:
            self._close(item.job, "failed", UsageError(f"an item is wider than {stage.name} computes at a time."))
        else:
            self.waiting.add(item)

    def _perhaps_join(self, job: Job) -> None:
        """Once all live items of a job are parked at a join, they go on as one."""
        if not job.parked or len(job.parked) < len(job.items):
            return
        met, job.parked = sorted(job.parked, key=lambda item: item.place), []
        one = WorkItem(job, met[0].route, met[0].at, (), met)
        for item in met:
            self._gone(item)
        job.items.add(one)
        job.passed += self.graph.share_behind(one.route, one.at)
        self.waiting.add(one)

    def _perhaps_done(self, job: Job) -> None:
        if not job.items and job.outcome is None:
            self._close(job, "done", job.values())

    def _drop(self, job: Job, place: Place) -> None:
        for item in [item for item in job.items if item.place == place]:
            if item.state is not None:
                self._end(item)
            else:
                home = next((some for some in (job.parked, self.again) if item in some), None)
                home.remove(item) if home is not None else self.waiting.take(item)
            self._gone(item)
        if job.outcome is None and not job.items and not job.results:
            self._close(job, "cancelled")
        self._perhaps_join(job)
        self._perhaps_done(job)

    def _close(self, job: Job, kind: str, data: Any = None) -> None:
        if job.outcome is not None:
            return
        for item in [item for item in self.started if item.job is job]:
            self._end(item)
        self.waiting.forget(job)
        self.again = [item for item in self.again if item.job is not job]
        if self.jobs.pop(job.number, None) is not None:
            self.clients = self.clients - Counter([job.client])  # without those that have none left
        job.items, job.parked = set(), []
        job.outcome = self._tell(kind, job, data)

    def _hasten(self, job: Job) -> None:
        if self.jobs.get(job.number) is not job:
            return
        waiting = [item for items in self.waiting.lists.values() for _, item in items if item.job is job]
        self.waiting.forget(job)
        del self.jobs[job.number]
        job.number = min((0, *self.jobs)) - 2  # never UNNUMBERED
        self.jobs[job.number] = job
        for item in waiting:
            self.waiting.add(item)

    def _show(self, job: Job, place: Place, value: Any) -> None:
        job.looks[place] = value
        self._tell("preview", job, (place, value))

    def _gone(self, item: WorkItem) -> None:
        item.job.items.discard(item)
        item.job.passed -= self.graph.share_behind(item.route, item.at)

    def _end(self, item: WorkItem) -> None:
        state, item.state = item.state, None
        self.started.remove(item)
        self._stage(item).worker.end(state)

    def _stage(self, item: WorkItem) -> Stage:
        return self.graph[item.stage]

    def _tell(self, kind: str, job: Job, data: Any = None) -> Event:
        event = Event(kind, job, data, next(self._seq))
        self.events.append(event)
        return event
