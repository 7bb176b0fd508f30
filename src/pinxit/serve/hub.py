"""Between the engine's thread and asyncio: who waits for which job, and what is told to whom.

All of it lives in the event loop's thread. A listener keeps the newest look at each candidate and every end.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pinxit.pipelines.work import Event
from pinxit.serve.errors import ended, reused
from pinxit.serve.runner import Publish, Runner

if TYPE_CHECKING:
    from pinxit.pipelines.graph import Graph
    from pinxit.pipelines.work import Place
    from pinxit.serve.catalog import Model, Order

ENDS = frozenset({"done", "failed", "cancelled", "expired"})
REMEMBERED = 64  # answers that a retry may still get
REMEMBERED_SECONDS = 300.0
STOPPED = "the engine has stopped, and the server is about to start again"


class Listener:
    """What has been told and not been read yet."""

    def __init__(self) -> None:
        self.pending: dict[Any, Event] = {}
        self.ready = asyncio.Event()

    def put(self, event: Event, every: bool = False) -> None:
        """A newer look takes the place of an older one, unless `every` one was asked for."""
        key: Any = event.kind
        if event.kind in ("preview", "drawn"):
            key = event.seq if every else (event.kind, event.data[0])
        self.pending.pop(key, None)
        self.pending[key] = event
        self.ready.set()

    def taken(self) -> list[Event]:
        """All there is."""
        found, self.pending = list(self.pending.values()), {}
        self.ready.clear()
        return found


@dataclass(eq=False)
class Ticket:
    """A job and those who listen to it. `detached`: it goes on when nobody does."""

    job: Order
    model: Model | None
    cost: float  # seconds, as foreseen
    detached: bool = False
    began: float = field(default_factory=time.perf_counter)
    listeners: set[Listener] = field(default_factory=set)
    outcome: Event | None = None
    looks: dict[Place, Event] = field(default_factory=dict)  # the newest of each candidate
    first_look: float | None = None
    let_go: bool = False  # cancelled, though the engine may not have come to it yet
    every_look: bool = False  # is told: so many were asked for

    async def events(self, listener: Listener, beat: float = 15.0) -> AsyncIterator[Event | None]:
        """What is told, to the end; None when nothing was for `beat` seconds."""
        while True:
            try:
                await asyncio.wait_for(listener.ready.wait(), beat)
            except TimeoutError:
                yield None
                continue
            for event in listener.taken():
                yield event
                if event.kind in ENDS:
                    return


class Hub:
    """Hands jobs to the engine and its events to those who listen."""

    def __init__(
        self,
        graph: Graph,
        died: Callable[[], None] = lambda: None,
        elsewhere: Callable[[Graph, Publish], Any] | None = None,
    ) -> None:
        """`elsewhere` makes what stands for a `Runner` where engines are in other processes (`replicas.Replicas`)."""
        self.loop = asyncio.get_running_loop()
        self.tickets: dict[Order, Ticket] = {}
        self.known: OrderedDict[str, tuple[str, Ticket]] = OrderedDict()  # by what says that a request is the same
        self.runner: Runner = (
            elsewhere(graph, self._from_engine)
            if elsewhere
            else Runner(graph, self._from_engine, lambda: self._tell_died(died))
        )
        self.on_death: Callable[[], None] = lambda: None
        self.on_end: list[Callable[[Ticket, dict[str, float]], None]] = []
        self.runner.start()

    def submit(self, job: Order, model: Model | None = None, *, cost: float = 0.0, detached: bool = False) -> Ticket:
        """Hand a job over."""
        if self.runner.error is not None:
            raise ended(STOPPED)
        ticket = Ticket(job, model, cost, detached, every_look=bool(job.shares))
        self.tickets[job] = ticket
        self.runner.engine.submit(job)
        return ticket

    def remember(self, key: str, about: str, ticket: Ticket) -> None:
        """A request with the same key, about the same, gets the same job."""
        self.known[key] = (about, ticket)
        while len(self.known) > REMEMBERED:
            self.known.popitem(last=False)

    def find(self, key: str, about: str) -> Ticket | None:
        """The job of an earlier equal request that did not fail. Raises RefusedError for a key of another one."""
        known, ticket = self.known.get(key, ("", None))
        if ticket is None:
            return None
        ended = ticket.outcome is not None
        stale = ended and time.perf_counter() - ticket.began > REMEMBERED_SECONDS
        if stale or ticket.let_go or (ticket.outcome is not None and ticket.outcome.kind != "done"):
            del self.known[key]
            return None
        if known != about:
            raise reused()
        return ticket

    @contextmanager
    def listening(self, ticket: Ticket) -> Iterator[Listener]:
        """Hear of a job from now on. When its last listener leaves it is let go, unless it is detached."""
        listener = Listener()
        ticket.listeners.add(listener)
        if ticket.outcome is not None:
            listener.put(ticket.outcome)
        try:
            yield listener
        finally:
            ticket.listeners.discard(listener)
            if not ticket.listeners and not ticket.detached:
                self.cancel(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """Let go of a job; its rows are free before the next step."""
        if ticket.outcome is None:
            ticket.let_go = True
            self.runner.engine.cancel(ticket.job)

    async def outcome(self, ticket: Ticket) -> Event:
        """How it ended."""
        with self.listening(ticket) as listener:
            async for event in ticket.events(listener):
                if event is not None and event.kind in ENDS:
                    return event
        raise AssertionError("a job ends")

    def leave(self, reason: Exception) -> None:
        """Let go of all that somebody waits for, who is told why; detached jobs go on."""
        for ticket in [one for one in self.tickets.values() if not one.detached]:
            self.runner.engine.cancel(ticket.job)
            self._tell(ticket, Event("failed", ticket.job, reason), {})

    def share(self, ticket: Ticket) -> float:
        """How far it has come, 0 to 1."""
        return 1.0 if ticket.outcome is not None else self.runner.load.shares.get(ticket.job, 0.0)

    async def close(self) -> None:
        """Stop the engine; what lives is let go."""
        for ticket in list(self.tickets.values()):
            self.cancel(ticket)
        self.runner.stop()
        await asyncio.to_thread(self.runner.join, 30.0)

    def _from_engine(self, events: list[Event]) -> None:
        """In the engine's thread: hand them over, once a turn."""
        costs = {event.job: dict(self.runner.engine.costs.get(event.job, {})) for event in events if event.kind in ENDS}
        self.loop.call_soon_threadsafe(self._publish, events, costs)

    def _publish(self, events: list[Event], costs: dict[Any, dict[str, float]]) -> None:
        for event in events:
            ticket = self.tickets.get(event.job)  # type: ignore[call-overload]
            if ticket is not None:
                self._tell(ticket, event, costs.get(event.job, {}))

    def _tell(self, ticket: Ticket, event: Event, costs: dict[str, float]) -> None:
        if event.kind in ENDS:
            ticket.outcome, ticket.looks = event, {}
            del self.tickets[ticket.job]
            for heard in self.on_end:
                heard(ticket, costs)
            if ticket.job.request is not None:  # a picture that was sent is not kept with what is remembered
                ticket.job.request = replace(ticket.job.request, more=None)
        elif event.kind in ("preview", "drawn"):
            ticket.looks[event.data[0]] = event
            ticket.first_look = ticket.first_look or time.perf_counter()
        for listener in list(ticket.listeners):
            listener.put(event, ticket.every_look)

    def _tell_died(self, died: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(self._died, died)

    def _died(self, died: Callable[[], None]) -> None:
        error = ended(STOPPED)
        for ticket in list(self.tickets.values()):
            self._tell(ticket, Event("failed", ticket.job, error), {})
        self.on_death()
        died()
