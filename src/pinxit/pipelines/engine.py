"""The one loop in which all painting happens: `turn` makes one call of one worker. No torch here.

Orders (submit, cancel, drop) may come from any thread; `turn` is called by one at a time (`turning`). What is computed
for an item depends on that item alone, so that neither the items that share its call, nor their order, nor a retry
change it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock

from pinxit.errors import UsageError
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.job_tracker import JobTracker
from pinxit.pipelines.policy import FairPolicy, Key
from pinxit.pipelines.work import Event, Job, Place, WorkItem


class Engine(JobTracker):
    """Runs jobs through a graph. `publish` is called with the events of every turn that has any."""

    def __init__(
        self,
        graph: Graph,
        policy: FairPolicy | None = None,
        clock: Callable[[], float] = time.perf_counter,
        publish: Callable[[list[Event]], None] = lambda events: None,
    ) -> None:
        super().__init__(graph)
        self.policy, self.clock, self.publish = policy or FairPolicy(), clock, publish
        self.turning = Lock()  # held around calls of all but orders, where several threads make them
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._numbers = itertools.count()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises UsageError for a route that the graph does not have."""
        for route, _ in job.starts:
            self.graph.check(route)
        self._orders.put(lambda: self._submit(job))

    def cancel(self, job: Job) -> None:
        """End a job; one that has ended stays as it is."""
        self._orders.put(lambda: self._close(job, "cancelled"))

    def drop(self, job: Job, place: Place) -> None:
        """Drop one of a job's items, such as a candidate that is no longer wanted; joins no longer wait for it."""
        self._orders.put(lambda: self._drop(job, place))

    def move_to_front(self, job: Job) -> None:
        """Move a job before all others of its client."""
        self._orders.put(lambda: self._hasten(job))

    @property
    def ordered(self) -> bool:
        """Whether there are orders that no turn has taken yet."""
        return not self._orders.empty()

    def share(self, job: Job) -> float:
        """How far a job has come, 0 to 1."""
        if job.outcome is not None:
            return 1.0
        under_way = sum(self._progress(item) for item in self.started if item.job is job and not item.preview)
        return min(1.0, (job.passed + under_way) / max(1, len(job.items) + len(job.results)))  # sums round

    def wait(self, seconds: float | None = None) -> None:
        """Block until an order comes: what an engine's own thread does after a turn that found nothing to do."""
        with suppress(Empty):
            self._orders.get(timeout=seconds)()

    def turn(self) -> bool:
        """Take orders, make one call of one worker, preview what it did; False: there was nothing to do."""
        self.settle()
        chosen = self._next()
        if chosen:
            self._look(self._call(chosen), self.clock())
        self._publish()
        return bool(chosen)

    def settle(self) -> None:
        """Take the orders that have come, and end jobs that are past their deadline, without computing anything."""
        self._take_orders(self.clock())
        self._publish()

    def _take_orders(self, now: float) -> None:
        with suppress(Empty):
            while True:
                self._orders.get_nowait()()
        for job in [job for job in self.jobs.values() if now >= job.deadline]:
            self._close(job, "expired")

    def _publish(self) -> None:
        if self.events:
            events, self.events = self.events, []
            self.publish(events)

    def _submit(self, job: Job) -> None:
        if job.outcome is not None or job.number in self.jobs:
            return
        if job.client not in self.clients:
            self.policy.admit_client(job.client, self.clients)
        self.clients[job.client] += 1
        job.number, job.looked = next(self._numbers), self.clock()
        self.jobs[job.number] = job
        self._enter([WorkItem(job, route, 0, (k,), value) for k, (route, value) in enumerate(job.starts)])
        self._perhaps_done(job)

    def _next(self) -> list[WorkItem]:
        """The items that share the next call, the one that the policy puts first (the head) first."""
        fresh = self._fresh()
        head = min([*self.started, *fresh], key=self.policy.key, default=None)
        if head is None:
            return []
        chosen, worker = self._chosen(head), self._stage(head).worker
        if head.tries or head.preview or sum(map(worker.rows, chosen)) >= worker.width:
            return chosen
        # Its call has room: first run a cheap stage that will send more items there, so that jobs share calls.
        behind = [one for one in fresh if head.stage in one.route[one.at + 1 : one.at + 2] and not one.preview]
        other = min((one for one in behind if not self._stage(one).weight), key=self.policy.key, default=None)
        return chosen if other is None else self._chosen(other)

    def _fresh(self) -> list[WorkItem]:
        """The first of every list that could begin now, but at a stage none behind one that waits for room there.

        Smaller items that come later would take every row that becomes free, and it might wait for ever.
        """
        found, large = list[WorkItem](), dict[str, Key]()
        for item in [*self.again, *self.waiting.first()]:
            if self._stage(item).worker.fits(item):
                found.append(item)
            else:
                large[item.stage] = min(self.policy.key(item), large.get(item.stage, self.policy.key(item)))
        return [item for item in found if item.stage not in large or self.policy.key(item) < large[item.stage]]

    def _call(self, chosen: list[WorkItem]) -> list[WorkItem]:
        stage, began = self._stage(chosen[0]), self.clock()
        shares = [(item.job, stage.worker.rows(item)) for item in chosen]
        begun = [item for item in chosen if self._begun(stage, item)]
        tile = [item for item in begun if item.state is not None]  # one that fails to begin may end its job
        try:
            if tile:
                stage.worker.step([item.state for item in tile])
        except BaseException as error:  # an interrupt may come half-way, and the items may be of other threads' jobs
            self._failed(stage, tile, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._collect(stage, tile)
        self._charge(stage, shares, self.clock() - began)
        return tile

    def _charge(self, stage: Stage, shares: Sequence[tuple[Job, int]], seconds: float) -> None:
        """Account for the cost of a call."""
        self.policy.charge(shares, seconds)

    def _chosen(self, head: WorkItem) -> list[WorkItem]:
        """The items that share the head's call; one that has failed is tried again alone."""
        worker = self._stage(head).worker
        if head.tries:
            return worker.tile([head])
        same = [one for one in self.started if one.stage == head.stage and not one.tries]
        ready = sorted([*same, *self.waiting.at(head.stage, worker.width + 1, self.policy)], key=self.policy.key)
        return worker.tile([head, *(one for one in ready if one is not head)])

    def _begun(self, stage: Stage, item: WorkItem) -> bool:
        if item.state is not None or item.job.outcome is not None:
            return item.state is not None
        if item.tries:
            self.again.remove(item)
        else:
            self.waiting.take(item)
        try:
            item.state = stage.worker.begin(item)
        except Exception as error:
            self._failed(stage, [item], error)
            return False
        self.started.append(item)
        return True

    def _collect(self, stage: Stage, tile: Sequence[WorkItem]) -> None:
        for item in [item for item in tile if stage.worker.done(item.state)]:
            if item.state is None:  # its job has just ended
                continue
            try:
                value = stage.worker.result(item.state)
            except Exception as error:
                self._failed(stage, [item], error)
            else:
                self._pass_on(item, value)

    def _failed(self, stage: Stage, tile: Sequence[WorkItem], error: BaseException) -> None:
        """Nothing computed in a failed call is used: each item is tried once more, alone, from the stage's start."""
        for item in tile:
            if item.job.outcome is not None:
                continue
            if item.state is not None:
                self._end(item)
            fatal = item.tries or (isinstance(error, UsageError) and len(tile) == 1)
            if not item.preview and fatal and isinstance(error, Exception):
                self._close(item.job, "failed", error)
            elif not item.preview:
                item.tries = 1
                self.again.append(item)

    def _look(self, tile: Sequence[WorkItem], now: float) -> None:
        """Previews of items that have just gone a step, for jobs that are due; they replace older waiting ones."""
        seen = [item for item in tile if item.state is not None and not item.preview]
        due = {item.job for item in seen if now >= item.job.looked + item.job.previews}
        for job in due:
            self.waiting.forget(job, previews=True)
            job.looked = now
        for item in [item for job in due for item in [one for one in seen if one.job is job][: job.looked_at]]:
            stage = self._stage(item)
            preview = stage.worker.preview(item.state)
            if preview is not None and stage.shown:
                at = list(item.route).index(stage.shown)
                self.waiting.add(WorkItem(item.job, item.route, at, item.place, preview, preview=True))
            elif preview is not None:
                self._show(item.job, item.place, preview)

    def _progress(self, item: WorkItem) -> float:
        """The share of its route that an item has come within its stage."""
        behind, ahead = (self.graph.share_behind(item.route, at) for at in (item.at, item.at + 1))
        return (ahead - behind) * self._stage(item).worker.progress(item.state)
