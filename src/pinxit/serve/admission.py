"""What may wait: work is counted in foreseen seconds, refused above a budget, and told when to come again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pinxit.serve.errors import RefusedError

if TYPE_CHECKING:
    from pinxit.recipes.requests import PaintRequest
    from pinxit.serve.catalog import Order
    from pinxit.serve.hub import Hub, Ticket
    from pinxit.serve.settings import Settings

LONGEST, SHORTEST = 60.0, 0.25  # seconds that a client is told to stay away: both clients obey no more than a minute
FOLLOWS = 0.3  # how fast what is foreseen follows what is measured
HELD_PICTURES = 32  # uploads, decoded up to 48 MB each, that jobs under way may hold
GUESS = 0.1  # seconds of a candidate where nothing has been measured


class Costs:
    """Seconds of a candidate at each stage, as measured; steps count where a request sets them."""

    def __init__(self) -> None:
        self.known: dict[str, float] = {}

    def foreseen(self, job: Order) -> float:
        """Seconds that a job will take the machine."""
        ((route, _),) = job.starts
        return sum(self.known.get(stage, GUESS / len(route)) * self._items(job, stage) for stage in route)

    def learn(self, job: Order, seconds: dict[str, float]) -> None:
        """What a finished job took."""
        for stage, spent in seconds.items():
            now = spent / self._items(job, stage)
            self.known[stage] = self.known.get(stage, now) * (1 - FOLLOWS) + now * FOLLOWS

    @staticmethod
    def _items(job: Order, stage: str) -> float:
        asked: PaintRequest | None = job.request
        if asked is None:
            return 1.0
        late = "/up" in stage or "/low" in stage  # an upsampler's see only what is kept
        many = min(asked.keep or asked.candidates, asked.candidates) if late else asked.candidates
        return many * (asked.settings.get("steps", 1) if "denoise" in stage else 1)


class Admission:
    """Says whether a job may wait."""

    def __init__(self, settings: Settings, hub: Hub) -> None:
        self.budget, self.share, self.hub, self.costs = settings.budget_seconds, settings.client_share, hub, Costs()
        self.refused: dict[str, int] = {}
        hub.on_end.append(self._ended)

    def left(self, client: str | None = None) -> float:
        """Seconds of work under way, of one client or of all."""
        tickets = [one for one in self.hub.tickets.values() if client in (None, one.job.client)]
        return sum(one.cost * (1 - self.hub.share(one)) for one in tickets) / self.hub.runner.engines

    def admit(self, job: Order, patience: float = math.inf) -> float:
        """The seconds it will take. Raises RefusedError (429) where that is too much, or later than `patience` allows.

        One job alone is never too much, however large: `most_candidates` bounds it.
        """
        cost, all_of_it, own = self.costs.foreseen(job), self.left(), self.left(job.client)
        if _holds_picture(job) and sum(_holds_picture(one.job) for one in self.hub.tickets.values()) >= HELD_PICTURES:
            raise self._busy("uploads", all_of_it)
        clients = len({one.job.client for one in self.hub.tickets.values()} | {job.client})
        if all_of_it and all_of_it + cost > self.budget:
            raise self._busy("backlog", all_of_it + cost - self.budget)
        if clients > 1 and own and own + cost > self.budget * self.share:
            raise self._busy("client", own + cost - self.budget * self.share)
        if min(all_of_it + cost, (own + cost) * clients) > patience:
            raise self._busy("deadline", all_of_it)
        return cost

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


def _holds_picture(job: Order) -> bool:
    asked: PaintRequest | None = job.request
    return asked is not None and asked.more is not None
