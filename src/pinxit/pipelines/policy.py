"""Who goes next: fair between clients, in order within one. No torch here."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from typing import Any

from pinxit.pipelines.work import Job, WorkItem

Key = tuple[Any, ...]


class FairPolicy:
    """The client that has used the machine least, for its weight, goes first; of a client, brief jobs, then items that
    have started, so that pictures finish soon. As priorities are weights and never absolute, no client starves.
    """

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}  # by client: seconds of computing, divided by weight

    def key(self, item: WorkItem) -> Key:
        """The sort key in whose order items are served; a preview counts as started, and so does a brief job."""
        fresh = item.state is None and not (item.preview or item.job.brief)
        return self.spent[item.job.client], fresh, *item.order

    def admit_client(self, client: str, busy: Collection[str]) -> None:
        """A client without jobs submits one: time that it left unused gives it no credit, but what it overspent counts.

        `busy`: the clients that have jobs.
        """
        others = [self.spent[other] for other in busy]
        if not others:
            self.spent = {}
        least = min(others, default=0.0)
        self.spent = {name: spent for name, spent in self.spent.items() if spent > least or name in busy}
        self.spent[client] = max(self.spent.get(client, 0.0), least)

    def charge(self, shares: Sequence[tuple[Job, int]], seconds: float) -> None:
        """A call for so many rows of each of these jobs took `seconds`: divide them among the jobs' clients."""
        total = sum(rows for _, rows in shares)
        for job, rows in shares:
            self.spent[job.client] += seconds * rows / total / job.weight


class WaitingItems:
    """Items that wait to begin: one sorted list for each stage and client."""

    def __init__(self) -> None:
        self.lists: dict[tuple[str, str], list[tuple[Key, WorkItem]]] = {}

    def add(self, item: WorkItem) -> None:
        """Insert an item in order."""
        insort(self.lists.setdefault((item.stage, item.job.client), []), (item.order, item))

    def take(self, item: WorkItem) -> None:
        """Remove an item, because it begins or is dropped."""
        key = item.stage, item.job.client
        waiting = self.lists[key]
        del waiting[next(place for place, (_, one) in enumerate(waiting) if one is item)]
        if not waiting:
            del self.lists[key]

    def forget(self, job: Job, previews: bool = False) -> None:
        """Remove all of a job's items, or only its previews."""
        for key in [key for key in self.lists if key[1] == job.client]:
            waiting = self.lists[key]
            for late in (False,) if previews else (False, True):  # a job's items stand side by side: `WorkItem.order`
                edges = (late, not job.brief, job.number), (late, not job.brief, job.number + 1)
                first, end = (bisect_left(waiting, edge, key=itemgetter(0)) for edge in edges)
                del waiting[first:end]
            if not waiting:
                del self.lists[key]

    def first(self) -> Iterator[WorkItem]:
        """The first of every list."""
        return (waiting[0][1] for waiting in self.lists.values())

    def at(self, stage: str, most: int, policy: FairPolicy) -> list[WorkItem]:
        """The first `most` items at a stage, in the policy's order."""
        mine = [[one for _, one in waiting[:most]] for (name, _), waiting in self.lists.items() if name == stage]
        return list(heapq.merge(*mine, key=policy.key))[:most]
