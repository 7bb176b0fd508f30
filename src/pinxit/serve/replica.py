"""An engine in a process that Ray Serve places, and the values that pass between it and the front end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pinxit.errors import PinxitError
from pinxit.pipelines.work import Event
from pinxit.serve.catalog import Catalog, ServerJob
from pinxit.serve.dispatcher import TERMINAL, Dispatcher

if TYPE_CHECKING:
    from pinxit.recipes.requests import PaintRequest
    from pinxit.serve.dispatcher import JobHandle
    from pinxit.serve.settings import Settings

PROGRESS_SECONDS = 0.5  # without events, after which progress is reported
BEGUN = "begun"  # the kind of a job's first event, told before its first call


@dataclass(frozen=True)
class RemoteJob:
    """A job on its way to a replica: the parts of a `ServerJob` that the engine needs."""

    starts: Sequence[tuple[Sequence[str], Any]]
    request: PaintRequest | None
    client: str
    weight: float
    seconds: float  # until the deadline, as clocks differ between machines
    options: Mapping[str, Any]  # other fields of `ServerJob`


@dataclass(frozen=True)
class RemoteEvent:
    """An event on its way back; BEGUN, or with kind "" reports progress only."""

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
        """The events of a job, up to the terminal one; its first call waits until it is told that the job has begun.

        Raises RuntimeError if the engine itself has stopped.
        """
        dispatcher = self._dispatcher()
        job = ServerJob(remote.starts, remote.request, remote.client, remote.weight, **remote.options)
        job.deadline = dispatcher.runner.engine.clock() + remote.seconds
        told = Future[None]()
        job.on_begin = partial(_announce, dispatcher, job, told)
        try:
            handle = dispatcher.submit(job)
            with dispatcher.listening(handle) as listener:
                async for event in handle.events(listener, PROGRESS_SECONDS):
                    if dispatcher.runner.error is not None:
                        raise RuntimeError("the engine has stopped")
                    if event is None:
                        yield RemoteEvent("", None, dispatcher.progress(handle))
                    elif event.kind == BEGUN:
                        yield RemoteEvent(BEGUN, None, 0.0)
                        told.set_result(None)
                    else:
                        costs = self.costs.get(job, {}) if event.kind in TERMINAL else {}
                        yield RemoteEvent(event.kind, _picklable(event.data), dispatcher.progress(handle), costs)
        finally:
            told.cancel()  # unless it is done: the engine's thread must not wait for a stream that was abandoned
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


def _announce(dispatcher: Dispatcher, job: ServerJob, told: Future[None]) -> Future[None]:
    """Called in the engine's thread: what the job's first call waits for."""
    dispatcher.runner.publish([Event(BEGUN, job)])
    return told


def _picklable(data: Any) -> Any:
    """Errors of libraries may not survive pickling."""
    if isinstance(data, Exception) and not isinstance(data, PinxitError):
        return RuntimeError(f"{type(data).__name__}: {data}")
    return data
