"""What the engine moves: jobs, the items they consist of, and the events it reports. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

UNNUMBERED = -1  # the number of a job that no engine has taken yet
Place = tuple[int, ...]
"""Identifies an item within its job: one number for every time that it was scattered."""


@dataclass(eq=False)
class Job:
    """What a client asked for: values that travel along routes. Fields below the line are the engine's."""

    starts: Sequence[tuple[Sequence[str], Any]]  # an item each: (names of its stages, value)
    request: Any = None  # what every worker may look up: prompt, seed, settings
    client: str = ""  # whose share of the machine it uses
    weight: float = 1.0  # greater ones are served more of the time
    deadline: float = math.inf  # in seconds of the engine's clock, after which it expires
    previews: float = math.inf  # seconds between two previews; inf: none
    looked_at: int | None = None  # how many items are previewed at a time; None: all
    brief: bool = False  # it takes a moment and is waited for: served before its client's other jobs, even begun ones
    # -----
    number: int = UNNUMBERED  # in order of arrival
    items: set[WorkItem] = field(default_factory=set)  # the live ones: neither finished nor dropped
    parked: list[WorkItem] = field(default_factory=list)  # of them, those that wait at a join
    results: dict[Place, Any] = field(default_factory=dict)  # of items that reached the end of their route
    looks: dict[Place, Any] = field(default_factory=dict)  # the newest preview of each item
    passed: float = 0.0  # shares of routes behind items and results, summed
    looked: float = 0.0  # when it was last previewed
    outcome: Event | None = None  # how it ended

    def values(self) -> list[Any]:
        """The results in their order."""
        return [self.results[place] for place in sorted(self.results)]


@dataclass(eq=False)
class WorkItem:
    """One value on its route. It holds rows of one stage only, and none while it waits, so there can be no deadlock."""

    job: Job
    route: Sequence[str]
    at: int  # index of its stage in the route
    place: Place
    value: Any  # what the previous stage returned; at a join, the list of joined items
    preview: bool = False  # a preview of another item, reported and then discarded
    state: Any = None  # the worker's, once it has begun
    tries: int = 0  # that failed

    @property
    def stage(self) -> str:
        """The name of the stage it is at."""
        return self.route[self.at]

    @property
    def order(self) -> tuple[bool, bool, int, int, Place]:
        """Within a client: previews, as late ones are worthless; brief jobs; old jobs; of one furthest items."""
        return not self.preview, not self.job.brief, self.job.number, -self.at, self.place


@dataclass(frozen=True)
class Event:
    """What happened to a job. `done` (data: results), `failed` (the error), `cancelled` or `expired` ends it, once.

    `preview`: (place, value) of an item in progress.
    """

    kind: str
    job: Job
    data: Any = None
    seq: int = 0
