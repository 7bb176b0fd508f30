"""An engine in a process that Ray Serve places, and the values that pass between it and the front end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pinxit.errors import PinxitError
from pinxit.serve.catalog import Catalog, ServerJob
from pinxit.serve.dispatcher import TERMINAL, Dispatcher

if TYPE_CHECKING:
    from pinxit.recipes.requests import PaintRequest
    from pinxit.serve.dispatcher import JobHandle
    from pinxit.serve.settings import Settings

PROGRESS_SECONDS = 0.5  # without events, after which progress is reported


@dataclass(frozen=True)
class RemoteJob:
    """A job on its way to a replica: the parts of a `ServerJob` that the engine needs."""

    starts: Sequence[tuple[Sequence[str], Any]]
    request: PaintRequest | None
    client: str
    weight: float
    seconds: float  # until the deadline, as clocks differ between machines
    preview_options: Mapping[str, Any]  # fields of `ServerJob`


@dataclass(frozen=True)
class RemoteEvent:
    """An event on its way back; with kind "" it reports progress only."""

    kind: str
    data: Any
    progress: float
    costs: Mapping[str, float] = field(default_factory=dict)  # seconds by stage, with the end


class Replica:
    """The class that Ray Serve deploys. When a stream of events is abandoned, its job is cancelled."""

    def __init__(self, settings: Settings, folder: str, threads: int) -> None:
        """`folder`: of relative paths; `threads`: the front end's number, on which tile sizes on a CPU depend."""
        import torch

        os.chdir(folder)
        torch.set_num_threads(threads)
        self.graph = Catalog.opened(settings).graph
        self.dispatcher: Dispatcher | None = None
        self.costs: dict[ServerJob, Mapping[str, float]] = {}

    async def paint(self, remote: RemoteJob) -> AsyncIterator[RemoteEvent]:
        """The events of a job, up to the terminal one. Raises RuntimeError if the engine itself has stopped."""
        dispatcher = self._dispatcher()
        job = ServerJob(remote.starts, remote.request, remote.client, remote.weight, **remote.preview_options)
        job.deadline = dispatcher.runner.engine.clock() + remote.seconds
        handle = dispatcher.submit(job)
        try:
            with dispatcher.listening(handle) as listener:
                async for event in handle.events(listener, PROGRESS_SECONDS):
                    if dispatcher.runner.error is not None:
                        raise RuntimeError("the engine has stopped")
                    if event is None:
                        yield RemoteEvent("", None, dispatcher.progress(handle))
                    else:
                        costs = self.costs.get(job, {}) if event.kind in TERMINAL else {}
                        yield RemoteEvent(event.kind, _picklable(event.data), dispatcher.progress(handle), costs)
        finally:
            self.costs.pop(job, None)

    def check_health(self) -> None:
        """Ray Serve calls this regularly, and replaces a replica that raises."""
        if self.dispatcher is not None and self.dispatcher.runner.error is not None:
            raise RuntimeError("the engine has stopped")

    def _dispatcher(self) -> Dispatcher:
        """The dispatcher, started in the event loop that receives its events."""
        if self.dispatcher is None:
            self.dispatcher = Dispatcher(self.graph)
            self.dispatcher.on_end.append(self._keep_costs)
        return self.dispatcher

    def _keep_costs(self, handle: JobHandle, costs: dict[str, float]) -> None:
        if handle.listeners:
            self.costs[handle.job] = costs


def _picklable(data: Any) -> Any:
    """Errors of libraries may not survive pickling."""
    if isinstance(data, Exception) and not isinstance(data, PinxitError):
        return RuntimeError(f"{type(data).__name__}: {data}")
    return data
