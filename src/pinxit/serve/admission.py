"""What may wait: work is counted in foreseen seconds, refused above a budget, and told when to come again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pinxit.serve.errors import RefusedError

if TYPE_CHECKING:
    from pinxit.recipes.requests import PaintRequest
    from pinxit.serve.catalog import Order
    from pinxit.serve.hub import Hub, Ticket
    from pinxit.serve.settings import Settings

LONGEST, SHORTEST = 60.0, 0.25  # seconds that a client is told to stay away: both clients obey no more than a minute
FOLLOWS = 0.3  # how fast what is foreseen follows what is measured
HELD_PICTURES = 32  # uploads, decoded up to `PICTURE` each, that jobs under way may hold
PICTURE = 48 * 2**20  # bytes
GUESS = 0.1  # seconds of a candidate where nothing has been measured


class Costs:
    """Seconds of a candidate at each stage, as measured; steps count where a request sets them.

    Of values that come without a request, those for CLIP, calls are counted, which take so many (`widths`) each.
    """

    def __init__(self, widths: Mapping[str, int] | None = None) -> None:
        self.known, self.widths = dict[str, float](), widths or {}

    def foreseen(self, job: Order) -> float:
        """Seconds that a job will take the machine."""
        stages = list(dict.fromkeys(stage for route, _ in job.starts for stage in route))
        return sum(self.known.get(stage, GUESS / len(stages)) * self._items(job, stage) for stage in stages)

    def learn(self, job: Order, seconds: dict[str, float]) -> None:
        """What a finished job took."""
        for stage, spent in seconds.items():
            now = spent / self._items(job, stage)
            self.known[stage] = self.known.get(stage, now) * (1 - FOLLOWS) + now * FOLLOWS

    def _items(self, job: Order, stage: str) -> float:
        asked: PaintRequest | None = job.request
        if asked is None:
            return math.ceil(sum(stage in route for route, _ in job.starts) / self.widths.get(stage, 1))
        steps = getattr(asked.more, "steps", None) or asked.settings.get("steps", 1)  # there and back, of a blend
        if stage.endswith("/invert"):
            return float(2 * steps)
        late = "/up" in stage or "/low" in stage  # an upsampler's see only what is kept
        many = min(asked.keep or asked.candidates, asked.candidates) if late else asked.candidates
        return float(many * (steps if stage.endswith(("/denoise", "/decoder")) else 1))


class Admission:
    """Says whether a job may wait."""

    def __init__(self, settings: Settings, hub: Hub) -> None:
        self.budget, self.share, self.hub = settings.budget_seconds, settings.client_share, hub
        self.costs = Costs({name: one.worker.width for name, one in hub.runner.engine.graph.stages.items()})
        self.promised: dict[Order, float] = {}  # seconds of jobs that are being written down
        self.refused: dict[str, int] = {}
        hub.on_end.append(self._ended)

    def left(self, client: str | None = None) -> float:
        """Seconds of work under way, of one client or of all."""
        under_way = sum(
            one.cost * (1 - self.hub.share(one))
            for one in self.hub.tickets.values()
            if client in (None, one.job.client)
        )
        promised = sum(cost for job, cost in self.promised.items() if client in (None, job.client))
        return (under_way + promised) / self.hub.runner.engines

    def admit(self, *jobs: Order, patience: float = math.inf) -> float:
        """The seconds that jobs of one client will take, which are all taken on or none.

        Raises RefusedError (429) where that is too much, or later than `patience` allows. What comes alone is never too
        much, however large: `most_candidates` bounds it.
        """
        client = jobs[0].client
        cost, all_of_it, own = sum(map(self.costs.foreseen, jobs)), self.left(), self.left(client)
        known = [*(one.job for one in self.hub.tickets.values()), *self.promised]
        held, more = sum(map(_pictures, known)), sum(map(_pictures, jobs))
        if more and held and held + more > HELD_PICTURES:
            raise self._busy("uploads", all_of_it)
        clients = len({one.client for one in known} | {client})
        if all_of_it and all_of_it + cost > self.budget:
            raise self._busy("backlog", all_of_it + cost - self.budget)
        if clients > 1 and own and own + cost > self.budget * self.share:
            raise self._busy("client", own + cost - self.budget * self.share)
        if min(all_of_it + cost, (own + cost) * clients) > patience:
            raise self._busy("deadline", all_of_it)
        return cost

    def promise(self, *jobs: Order) -> None:
        """Count admitted jobs until they are handed over: several requests may be on their way to the disk at once."""
        self.promised |= {job: self.costs.foreseen(job) for job in jobs}

    def keep(self, *jobs: Order) -> None:
        """They have been handed over, or will not be."""
        for job in jobs:
            self.promised.pop(job, None)

    def rates(self, cost: float) -> dict[str, str]:
        """What clients are told of the room that is left, in requests like this one."""
        cost, left = max(cost, 1e-3), self.left()
        most, free = int(self.budget / cost) or 1, max(0, int((self.budget - left) / cost))
        names = ("limit", "remaining", "reset")
        values = (str(most), str(min(free, most)), f"{left:.1f}s")
        return {f"x-ratelimit-{name}-requests": value for name, value in zip(names, values, strict=True)}

    def _busy(self, reason: str, seconds: float) -> RefusedError:
        self.refused[reason] = self.refused.get(reason, 0) + 1
        wait = min(LONGEST, max(SHORTEST, seconds))
        said = {
            "backlog": "there is as much to paint as may wait here",
            "client": "you have as much waiting as one may have while others wait",
            "uploads": "as many pictures wait to be worked on as this server holds",
            "deadline": "it could not be done before you stop waiting",
        }[reason]
        headers = {"retry-after-ms": str(math.ceil(1000 * wait)), "retry-after": str(math.ceil(wait))}
        return RefusedError(429, f"{said}: try again in {wait:.0f} s.", code="rate_limit_exceeded", headers=headers)

    def _ended(self, ticket: Ticket, seconds: dict[str, float]) -> None:
        if ticket.outcome is not None and ticket.outcome.kind == "done":
            self.costs.learn(ticket.job, seconds)


def _pictures(job: Order) -> int:
    """How many uploads of the largest size lie in memory for it."""
    asked: PaintRequest | None = job.request
    if asked is not None:
        return 0 if asked.more is None else 1
    return math.ceil(sum(getattr(value, "nbytes", 0) for _, value in job.starts) / PICTURE)
