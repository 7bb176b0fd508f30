"""A job that is not finished, and whose share of the machine it takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pinxit.serve.requests import WEIGHTS

if TYPE_CHECKING:
    from pinxit.serve.catalog import Order
    from pinxit.serve.hub import Ticket
    from pinxit.serve.plan import Plan
    from pinxit.serve.records import Record


class Live:
    """A job under way."""

    def __init__(self, record: Record, plan: Plan, order: Order) -> None:
        self.record, self.plan, self.order = record, plan, order
        self.ticket: Ticket | None = None
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False
        self.looks: dict[int, dict[str, Any]] = {}  # the newest that was told of each candidate


def number_of(live: Live) -> int:
    """Of its arrival at the engine."""
    return live.ticket.job.number if live.ticket is not None else 2**62


def client_of(record: Record) -> str:
    """Whose share of the machine it takes: that of the same caller's other requests."""
    return str(record.request.get("client", f"jobs:{record.owner}"))


def weight_of(request: dict[str, Any]) -> float:
    """Of a written request: its priority's times its key's, which those of earlier versions do not name."""
    return WEIGHTS[request.get("priority", "interactive")] * float(request.get("weight", 1.0))
