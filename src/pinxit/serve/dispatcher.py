"""Between the engine's thread and asyncio: submits jobs, and passes their events on to whoever listens.

Everything here runs in the event loop's thread unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pinxit.pipelines.work import Event
from pinxit.serve.errors import key_reused, unavailable
from pinxit.serve.runner import Publish, Runner

if TYPE_CHECKING:
    from pinxit.pipelines.graph import Graph
    from pinxit.serve.catalog import Model, ServerJob

TERMINAL = frozenset({"done", "failed", "cancelled", "expired"})
MAX_REUSABLE = 64  # finished jobs whose result, held in memory, an equal request may still get
REUSE_SECONDS = 300.0  # after a job's end
STOPPED = "the engine has stopped, and the server is about to restart"


class Listener:
    """A queue of the events of one job that have not been read yet."""

    def __init__(self) -> None:
        self.pending: dict[Any, Event] = {}
        self.ready = asyncio.Event()

    def put(self, event: Event, every: bool = False) -> None:
        """Add an event. A newer preview of a candidate replaces an unread one, unless `every` one is wanted."""
        key: Any = event.kind
        if event.kind in ("preview", "drawn"):
            key = event.seq if every else (event.kind, event.data[0])
        self.pending.pop(key, None)
        self.pending[key] = event
        self.ready.set()

    def take_all(self) -> list[Event]:
        """Remove and return all events."""
        found, self.pending = list(self.pending.values()), {}
        self.ready.clear()
        return found


@dataclass(eq=False)
class JobHandle:
    """A submitted job and its listeners. `detached`: it is not cancelled when the last one leaves."""

    job: ServerJob
    model: Model | None
    cost: float  # estimated seconds
    detached: bool = False
    began: float = field(default_factory=time.perf_counter)
    listeners: set[Listener] = field(default_factory=set)
    outcome: Event | None = None
    ended: float | None = None
    first_preview: float | None = None
    cancelled: bool = False  # perhaps before the engine has seen it
    every_preview: bool = False  # none is replaced by a newer one: the client asked for a number of them

    def shareable(self, now: float) -> bool:
        """Whether an equal request may still get its result: it has not failed, and not ended long ago."""
        if self.outcome is None or self.ended is None:
            return not self.cancelled
        return self.outcome.kind == "done" and now - self.ended <= REUSE_SECONDS

    async def events(self, listener: Listener, heartbeat: float = 15.0) -> AsyncIterator[Event | None]:
        """The listener's events, up to the terminal one; None after every `heartbeat` seconds without any."""
        while True:
            try:
                await asyncio.wait_for(listener.ready.wait(), heartbeat)
            except TimeoutError:
                yield None
                continue
            for event in listener.take_all():
                yield event
                if event.kind in TERMINAL:
                    return

    async def terminal(self, listener: Listener) -> Event:
        """The listener's last event."""
        async for event in self.events(listener):
            if event is not None and event.kind in TERMINAL:
                return event
        raise AssertionError("events end with a terminal one")


class Dispatcher:
    """Submits jobs to the engine and distributes its events."""

    def __init__(
        self,
        graph: Graph,
        on_engine_death: Callable[[], None] = lambda: None,
        make_runner: Callable[[Graph, Publish], Any] | None = None,
    ) -> None:
        """`make_runner` makes a substitute for `Runner`, if engines run in other processes (`replicas.Replicas`)."""
        self.loop = asyncio.get_running_loop()
        self.handles: dict[ServerJob, JobHandle] = {}
        self.by_key: dict[str, tuple[str, JobHandle]] = {}  # by idempotency key: (digest, handle)
        self.runner: Runner = (
            make_runner(graph, self._from_engine)
            if make_runner
            else Runner(graph, self._from_engine, lambda: self._engine_died(on_engine_death))
        )
        self.on_death: Callable[[], None] = lambda: None  # called first when the engine has stopped
        self.on_end: list[Callable[[JobHandle, dict[str, float]], None]] = []
        self.runner.start()

    def submit(
        self, job: ServerJob, model: Model | None = None, *, cost: float = 0.0, detached: bool = False
    ) -> JobHandle:
        """Submit a job to the engine. Raises RefusedError (503) if it has stopped, UsageError for an unknown route."""
        if self.runner.error is not None:
            raise unavailable(STOPPED)
        handle = JobHandle(job, model, cost, detached, every_preview=bool(job.shares))
        self.runner.engine.submit(job)  # whose events come through the event loop, so not before this returns
        self.handles[job] = handle
        return handle

    def remember(self, key: str, digest: str, handle: JobHandle) -> None:
        """Let later requests with this idempotency key share the job; `digest` identifies the request's content."""
        self.by_key[key] = (digest, handle)

    def find(self, key: str, digest: str, deadline: float = 0.0) -> JobHandle | None:
        """The job of an earlier request with this key, if it has not failed. It may take until the later deadline.

        Raises RefusedError (409) if that request had another content.
        """
        self.forget_stale()
        earlier, handle = self.by_key.get(key, ("", None))
        if handle is None:
            return None
        if earlier != digest:
            raise key_reused()
        handle.job.deadline = max(handle.job.deadline, deadline)
        return handle

    def forget_stale(self) -> None:
        """Let go of results that no later request may share, and of their pictures; of the others the latest are kept.

        Unfinished jobs are all kept: admission control bounds them, and a retry must never paint a second time.
        """
        now = time.perf_counter()
        self.by_key = {key: one for key, one in self.by_key.items() if one[1].shareable(now)}
        ends = {key: handle.ended for key, (_, handle) in self.by_key.items() if handle.ended is not None}
        for key in sorted(ends, key=lambda key: ends[key])[:-MAX_REUSABLE]:
            del self.by_key[key]

    @contextmanager
    def listening(self, handle: JobHandle) -> Iterator[Listener]:
        """Receive a job's events from now on. It is cancelled when its last listener leaves, unless it is detached."""
        listener = Listener()
        handle.listeners.add(listener)
        if handle.outcome is not None:
            listener.put(handle.outcome)
        try:
            yield listener
        finally:
            handle.listeners.discard(listener)
            if not handle.listeners and not handle.detached:
                self.cancel(handle)

    def cancel(self, handle: JobHandle) -> None:
        """Cancel a job; its rows are free before the engine's next step."""
        if handle.outcome is None:
            handle.cancelled = True
            self.runner.engine.cancel(handle.job)

    async def outcome(self, handle: JobHandle) -> Event:
        """Wait for the terminal event."""
        with self.listening(handle) as listener:
            return await handle.terminal(listener)

    def fail_waiting(self, reason: Exception) -> None:
        """Cancel all jobs that a request is waiting for, and send the reason; detached jobs continue."""
        for handle in [one for one in self.handles.values() if not one.detached]:
            self.runner.engine.cancel(handle.job)
            self._notify(handle, Event("failed", handle.job, reason), {})

    def progress(self, handle: JobHandle) -> float:
        """How far a job has come, 0 to 1."""
        return 1.0 if handle.outcome is not None else self.runner.load.shares.get(handle.job, 0.0)

    async def close(self) -> None:
        """Cancel all jobs and stop the engine."""
        for handle in list(self.handles.values()):
            self.cancel(handle)
        self.runner.stop()
        await asyncio.to_thread(self.runner.join, 30.0)

    def _from_engine(self, events: list[Event]) -> None:
        """Called in the engine's thread, once a turn: hand its events to the event loop."""
        ended = [event.job for event in events if event.kind in TERMINAL]
        costs = {job: dict(self.runner.engine.costs.get(job, {})) for job in ended}
        self.loop.call_soon_threadsafe(self._publish, events, costs)

    def _publish(self, events: list[Event], costs: dict[Any, dict[str, float]]) -> None:
        for event in events:
            handle = self.handles.get(event.job)  # type: ignore[call-overload]
            if handle is not None:
                self._notify(handle, event, costs.get(event.job, {}))

    def _notify(self, handle: JobHandle, event: Event, costs: dict[str, float]) -> None:
        if event.kind in TERMINAL:
            handle.outcome, handle.ended = event, time.perf_counter()
            del self.handles[handle.job]
            for callback in self.on_end:
                callback(handle, costs)
            if handle.job.request is not None:  # an uploaded picture is not kept with a remembered result
                handle.job.request = replace(handle.job.request, more=None)
            self.forget_stale()
        elif event.kind in ("preview", "drawn"):
            handle.first_preview = handle.first_preview or time.perf_counter()
        for listener in list(handle.listeners):
            listener.put(event, handle.every_preview)

    def _engine_died(self, on_engine_death: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(self._fail_all, on_engine_death)

    def _fail_all(self, on_engine_death: Callable[[], None]) -> None:
        error = unavailable(STOPPED)
        for handle in list(self.handles.values()):
            self._notify(handle, Event("failed", handle.job, error), {})
        self.on_death()
        on_engine_death()
