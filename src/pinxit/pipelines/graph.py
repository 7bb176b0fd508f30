"""The stages of a recipe and the routes through them. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from pinxit.errors import UsageError
from pinxit.pipelines.worker import Worker


@dataclass(frozen=True)
class Stage:
    """A worker with a name: what happens to an item there."""

    name: str
    worker: Worker
    gather: bool = False  # waits for all of a job's items that live, which go on as one
    weight: float = 0.0  # its share of a picture's time, for progress alone
    shown: str = ""  # the stage that makes a picture of what `look` gives; "": it is one already


class Graph:
    """Stages by name, and the usual routes by theirs.

    Raises UsageError for two stages of one name, a route through none or an unknown one, and routes in a circle.
    """

    def __init__(self, stages: Sequence[Stage], routes: Mapping[str, Sequence[str]]) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.routes = {name: tuple(route) for name, route in routes.items()}
        if len(self.stages) < len(stages):
            raise UsageError(f"two stages of a graph share a name: {', '.join(stage.name for stage in stages)}.")
        shown = [(stage.name, stage.shown) for stage in stages if stage.shown]
        for way in [*self.routes.values(), *shown]:
            self.check(way)
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
        """Raise UsageError for a route that nothing can travel."""
        if not route or not self.stages.keys() >= set(route):
            unknown = ", ".join(name for name in route if name not in self.stages) or "nothing"
            raise UsageError(f"a route leads through {unknown}; the stages are {', '.join(self.stages)}.")

    def worth(self, route: Sequence[str], at: int) -> float:
        """The share of the way that lies behind an item at this place of its route."""
        weights = [self.stages[name].weight for name in route]
        total = sum(weights)
        return sum(weights[:at]) / total if total else at / len(route)

    def with_more(self, other: Graph) -> Graph:
        """Both graphs' stages and routes in one, the other's where a name is in both."""
        return Graph([*(self.stages | other.stages).values()], self.routes | other.routes)

    def under(self, name: str) -> Graph:
        """The same with all names below `name`, so that it can stand beside others whose stages have the same ones."""
        stages = [
            replace(one, name=f"{name}/{one.name}", shown=one.shown and f"{name}/{one.shown}")
            for one in self.stages.values()
        ]
        routes = {
            f"{name}/{route}": [f"{name}/{stage}" for stage in stages_of] for route, stages_of in self.routes.items()
        }
        return Graph(stages, routes)

    def __str__(self) -> str:
        """Its routes, then a line a stage."""
        lines = [f"{name}: {' -> '.join(route)}" for name, route in self.routes.items()]
        wide = max(map(len, self.stages))
        for stage in self.stages.values():
            facts = [type(stage.worker).__name__, f"{stage.worker.width} rows a call"]
            facts += ["waits for all that live"] * stage.gather + [f"shown by {stage.shown}"] * bool(stage.shown)
            lines.append(f"  {stage.name:{wide}}  {', '.join(facts)}")
        return "\n".join(lines)
