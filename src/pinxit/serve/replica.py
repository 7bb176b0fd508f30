"""A whole engine in a process that Ray Serve places, and what passes between it and the server in front of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pinxit.errors import PinxitError
from pinxit.serve.catalog import Catalog, Order
from pinxit.serve.hub import ENDS, Hub

if TYPE_CHECKING:
    from pinxit.recipes.requests import PaintRequest
    from pinxit.serve.hub import Ticket
    from pinxit.serve.settings import Settings

BEAT = 0.5  # seconds after which it tells how far a job has come where there is nothing else to tell


@dataclass(frozen=True)
class Sent:
    """A job on its way to a replica: what of an `Order` the engine needs."""

    starts: Sequence[tuple[Sequence[str], Any]]
    request: PaintRequest | None
    client: str
    weight: float
    seconds: float  # until nobody waits any more; clocks differ between machines
    how: Mapping[str, Any]  # fields of `Order`: how it is looked at


@dataclass(frozen=True)
class Report:
    """An event on its way back; of no kind where there is only to tell how far the job has come."""

    kind: str
    data: Any
    share: float
    costs: Mapping[str, float] = field(default_factory=dict)  # seconds by stage, with the end


class Replica:
    """What Ray Serve runs. When a stream of events is given up, its job is let go before the next step."""

    def __init__(self, settings: Settings, here: str, threads: int) -> None:
        """`here`: the folder that paths are below; `threads`: as many as the front has, as CPU tiles hang on it."""
        import torch

        os.chdir(here)
        torch.set_num_threads(threads)
        self.graph = Catalog.opened(settings).graph
        self.hub: Hub | None = None
        self.costs: dict[Order, Mapping[str, float]] = {}

    async def paint(self, sent: Sent) -> AsyncIterator[Report]:
        """What happens to a job, to its end. Raises RuntimeError where the engine itself has stopped."""
        hub = self._running()
        job = Order(sent.starts, sent.request, sent.client, sent.weight, **sent.how)
        job.deadline = hub.runner.engine.clock() + sent.seconds
        ticket = hub.submit(job)
        try:
            with hub.listening(ticket) as listener:
                async for event in ticket.events(listener, BEAT):
                    if hub.runner.error is not None:
                        raise RuntimeError("the engine has stopped")
                    if event is None:
                        yield Report("", None, hub.share(ticket))
                    else:
                        costs = self.costs.get(job, {}) if event.kind in ENDS else {}
                        yield Report(event.kind, _sendable(event.data), hub.share(ticket), costs)
        finally:
            self.costs.pop(job, None)

    def check_health(self) -> None:
        """Ray Serve asks now and then, and replaces a replica that raises."""
        if self.hub is not None and self.hub.runner.error is not None:
            raise RuntimeError("the engine has stopped")

    def _running(self) -> Hub:
        """The engine, which begins in the event loop that its events go to."""
        if self.hub is None:
            self.hub = Hub(self.graph)
            self.hub.on_end.append(self._keep)
        return self.hub

    def _keep(self, ticket: Ticket, costs: dict[str, float]) -> None:
        if ticket.listeners:
            self.costs[ticket.job] = costs


def _sendable(data: Any) -> Any:
    """Errors of libraries may not survive the way."""
    if isinstance(data, Exception) and not isinstance(data, PinxitError):
        return RuntimeError(f"{type(data).__name__}: {data}")
    return data
