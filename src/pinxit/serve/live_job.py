"""A job in progress, and whose share of the machine it uses."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from pinxit.pipelines.work import UNNUMBERED
from pinxit.serve.requests import WEIGHTS

if TYPE_CHECKING:
    from pinxit.serve.dispatcher import JobHandle
    from pinxit.serve.records import Record


class LiveJob:
    """A stored job that has not ended."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.handle: JobHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False


def arrival_number(live: LiveJob) -> float:
    """Its position in the engine's order of arrival; inf before the engine has taken it."""
    number = UNNUMBERED if live.handle is None else live.handle.job.number
    return math.inf if number == UNNUMBERED else number


def client_of(record: Record) -> str:
    """The client whose share of the machine a job uses: the same as for the caller's other requests."""
    return str(record.request.get("client", f"jobs:{record.owner}"))


def weight_of(request: dict[str, Any]) -> float:
    """A stored request's share: its priority's weight times its key's, which requests of earlier versions lack."""
    return WEIGHTS[request.get("priority", "interactive")] * float(request.get("weight", 1.0))
