"""Who goes next: fair between clients, in order within one. No torch here."""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pinxit.pipelines.work import Job, WorkItem

Key = tuple[Any, ...]


class Fair:
    """The client that has had the least of the machine goes first; its started items before others, so that pictures
    finish in waves. A priority is a weight, never absolute: nobody is starved.
    """

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}  # seconds over weight

    def key(self, item: WorkItem) -> Key:
        """Items are served in this order; a preview counts as started."""
        return self.spent[item.job.client], item.state is None and not item.preview, *item.order

    def meet(self, client: str, busy: Iterable[str]) -> None:
        """A client with nothing under way asks. Time that it did not use is not saved up; a debt stays."""
        others = [self.spent[other] for other in busy]
        if not others:
            self.spent = {}
        least = min(others, default=0.0)
        self.spent = {name: spent for name, spent in self.spent.items() if spent > least or name in busy}
        self.spent[client] = max(self.spent.get(client, 0.0), least)

    def charge(self, shares: Sequence[tuple[Job, int]], seconds: float) -> None:
        """A call took so long for the rows of these jobs."""
        total = sum(rows for _, rows in shares)
        for job, rows in shares:
            self.spent[job.client] += seconds * rows / total / job.weight


class Waiting:
    """Items that have not begun, by stage and client, each list in its order."""

    def __init__(self) -> None:
        self.lists: dict[tuple[str, str], list[tuple[Key, WorkItem]]] = {}

    def add(self, item: WorkItem) -> None:
        """Put it where it belongs."""
        insort(self.lists.setdefault((item.stage, item.job.client), []), (item.order, item))

    def take(self, item: WorkItem) -> None:
        """It begins, or goes."""
        key = item.stage, item.job.client
        waiting = self.lists[key]
        del waiting[next(place for place, (_, one) in enumerate(waiting) if one is item)]
        if not waiting:
            del self.lists[key]

    def forget(self, job: Job, previews: bool = False) -> None:
        """All of a job's items, or all of its previews, go."""
        for key in [key for key in self.lists if key[1] == job.client]:
            stay = [pair for pair in self.lists[key] if pair[1].job is not job or (previews and not pair[1].preview)]
            if stay:
                self.lists[key] = stay
            else:
                del self.lists[key]

    def first(self) -> Iterator[WorkItem]:
        """The first of every list."""
        return (waiting[0][1] for waiting in self.lists.values())

    def at(self, stage: str, most: int, policy: Fair) -> list[WorkItem]:
        """The first `most` at a stage."""
        mine = [[one for _, one in waiting[:most]] for (name, _), waiting in self.lists.items() if name == stage]
        return list(heapq.merge(*mine, key=policy.key))[:most]
