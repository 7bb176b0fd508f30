"""What the engine moves: jobs, the items they consist of, and what is told of them. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Place = tuple[int, ...]
"""Which of its job's items: one number for every scattering on its way."""


@dataclass(eq=False)
class Job:
    """What somebody asked for: values that travel along routes. Fields below the line are the engine's."""

    starts: Sequence[tuple[Sequence[str], Any]]  # (names of stages, value), an item each
    request: Any = None  # what every worker may look up: prompt, seed, settings
    client: str = ""  # who pays
    weight: float = 1.0  # of the client's share of the machine
    deadline: float = math.inf  # by the engine's clock: dropped when it has not ended by then
    previews: float = math.inf  # seconds between two looks at what is under way; inf: none
    looked_at: int | None = None  # items a look; None: all
    # -----
    number: int = -1  # of its arrival
    items: set[WorkItem] = field(default_factory=set)  # those that live
    parked: list[WorkItem] = field(default_factory=list)  # of them, those that wait at a join
    results: dict[Place, Any] = field(default_factory=dict)  # of items that came to their route's end
    looks: dict[Place, Any] = field(default_factory=dict)  # the newest preview of each item
    passed: float = 0.0  # of the way, summed over items and results
    looked: float = 0.0
    outcome: Event | None = None  # how it ended

    def values(self) -> list[Any]:
        """The results in their order."""
        return [self.results[place] for place in sorted(self.results)]


@dataclass(eq=False)
class WorkItem:
    """One value on its way. It holds rows of one stage alone, and none while it waits: so nothing waits in a ring."""

    job: Job
    route: Sequence[str]
    at: int  # the stage it is at, of its route
    place: Place
    value: Any  # what the stage before gave; at a join the items that came together
    preview: bool = False  # a look at another item's work, told and thrown away
    state: Any = None  # the worker's, while in work
    tries: int = 0  # that failed

    @property
    def stage(self) -> str:
        """The name of the stage it is at."""
        return self.route[self.at]

    @property
    def order(self) -> tuple[bool, int, int, Place]:
        """Within a client: looks, as they are worth nothing late; who came first; of one job what is furthest on."""
        return not self.preview, self.job.number, -self.at, self.place


@dataclass(frozen=True)
class Event:
    """Something to tell. `done` (data: the results), `failed` (the error), `cancelled` or `expired` ends a job, once.

    `preview`: (place, value) of an item under way.
    """

    kind: str
    job: Job
    data: Any = None
    seq: int = 0
