"""The stages of a recipe and the routes through them. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from pinxit.errors import UsageError
from pinxit.pipelines.worker import Worker
from pinxit.texts import counted


@dataclass(frozen=True)
class Stage:
    """A named worker, and how items pass it."""

    name: str
    worker: Worker
    gather: bool = False  # a join: waits for all live items of a job, which go on as one
    weight: float = 0.0  # its share of a picture's time, for progress alone
    shown: str = ""  # the stage that turns what `preview` gives into a picture; "": it is one already


class Graph:
    """Stages by name, and named routes through them.

    Raises UsageError for two stages of one name, an empty route, a route through an unknown stage, and cycles.
    """

    def __init__(self, stages: Sequence[Stage], routes: Mapping[str, Sequence[str]]) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.routes = {name: tuple(route) for name, route in routes.items()}
        if len(self.stages) < len(stages):
            raise UsageError(f"two stages of a graph share a name: {', '.join(stage.name for stage in stages)}.")
        shown = [(stage.name, stage.shown) for stage in stages if stage.shown]
        for route in [*self.routes.values(), *shown]:
            self.check(route)
        edges: dict[str, set[str]] = {name: set() for name in self.stages}
        for route in self.routes.values():
            for one, following in pairwise(route):
                edges[following].add(one)
        try:
            tuple(TopologicalSorter(edges).static_order())
        except CycleError as error:
            raise UsageError(f"routes of a graph run in a circle: {' -> '.join(error.args[1])}.") from None

    def __getitem__(self, name: str) -> Stage:
        return self.stages[name]

    def check(self, route: Sequence[str]) -> None:
        """Raise UsageError for a route that is empty or names an unknown stage."""
        if not route or not self.stages.keys() >= set(route):
            unknown = ", ".join(name for name in route if name not in self.stages) or "nothing"
            raise UsageError(f"a route leads through {unknown}; the stages are {', '.join(self.stages)}.")

    def share_behind(self, route: Sequence[str], at: int) -> float:
        """The share of the work that is behind an item at stage number `at` of its route."""
        weights = [self.stages[name].weight for name in route]
        total = sum(weights)
        return sum(weights[:at]) / total if total else at / len(route)

    def joined_with(self, other: Graph) -> Graph:
        """Both graphs' stages and routes in one, the other's where a name is in both."""
        return Graph([*(self.stages | other.stages).values()], self.routes | other.routes)

    def prefixed(self, name: str) -> Graph:
        """The same graph with every name prefixed by `name/`, so that it can be joined with others."""
        stages = [
            replace(one, name=f"{name}/{one.name}", shown=one.shown and f"{name}/{one.shown}")
            for one in self.stages.values()
        ]
        routes = {
            f"{name}/{route}": [f"{name}/{stage}" for stage in stages_of] for route, stages_of in self.routes.items()
        }
        return Graph(stages, routes)

    def __str__(self) -> str:
        """Its routes, then one line per stage."""
        lines = [f"{name}: {' -> '.join(route)}" for name, route in self.routes.items()]
        wide = max(map(len, self.stages))
        for stage in self.stages.values():
            facts = [type(stage.worker).__name__, f"{counted(stage.worker.width, 'row')} a call"]
            facts += ["waits for all that live"] * stage.gather + [f"shown by {stage.shown}"] * bool(stage.shown)
            lines.append(f"  {stage.name:{wide}}  {', '.join(facts)}")
        return "\n".join(lines)
