"""GET /metrics in Prometheus' text format. Gauges are read where they live when they are asked for: they cannot drift.

Labels are names out of the code and the settings, never what a client wrote.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from pinxit.serve.admission import Admission
    from pinxit.serve.hub import Hub, Ticket

SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)


class Metrics:
    """What is counted of a running server."""

    def __init__(self, hub: Hub, admission: Admission) -> None:
        self.hub, self.admission = hub, admission
        self.ends: Counter[tuple[str, str]] = Counter()
        self.registry = CollectorRegistry()
        self.preview = Histogram("pinxit_first_preview_seconds", "From a job to its first look", registry=self.registry,
                                 buckets=SECONDS)  # fmt: skip
        self.picture = Histogram("pinxit_picture_seconds", "From a job to its pictures", registry=self.registry,
                                 buckets=SECONDS)  # fmt: skip
        self.commit = Histogram("pinxit_commit_seconds", "A commit of the store", registry=self.registry)
        self.registry.register(self)
        hub.on_end.append(self._ended)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead: names are found when they are collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What is read at the moment of asking."""
        load = self.hub.runner.load
        yield _gauge("jobs", "Jobs under way", [((), len(self.hub.tickets))])
        yield _gauge("waiting_items", "Items that have not begun", _one(load.waiting), ["stage"])
        yield _gauge("rows_held", "Items that are in work", [((), load.rows)])
        yield _gauge("backlog_seconds", "Foreseen seconds of work under way", [((), self.admission.left())])
        yield _gauge("seconds_since_turn", "Since the engine last moved", [((), time.perf_counter() - load.turned)])
        yield _counter("jobs", "Jobs that ended", list(self.ends.items()), ["recipe", "outcome"])
        yield _counter("refused", "Requests refused for want of room", _one(self.admission.refused), ["reason"])
        spent = self.hub.runner.engine.spent
        yield _counter("busy_seconds", "Time in calls", [((k,), one.seconds) for k, one in spent.items()], ["stage"])
        yield _counter("calls", "Calls of a stage", [((k,), one.calls) for k, one in spent.items()], ["stage"])
        rows: list[tuple[tuple[str, ...], float]] = [((k, "used"), one.used) for k, one in spent.items()]
        rows += [((k, "padded"), one.padded) for k, one in spent.items()]
        yield _counter("rows", "Rows computed", rows, ["stage", "kind"])

    def _ended(self, ticket: Ticket, seconds: dict[str, float]) -> None:
        assert ticket.outcome is not None
        self.ends[ticket.model.name if ticket.model else "clip", ticket.outcome.kind] += 1
        if ticket.outcome.kind == "done" and ticket.model is not None:
            self.picture.observe(time.perf_counter() - ticket.began)
            if ticket.first_look is not None:
                self.preview.observe(ticket.first_look - ticket.began)


Values = Iterable[tuple[tuple[str, ...], float]]


def _one(found: Mapping[str, int]) -> Values:
    return [((name,), value) for name, value in found.items()]


def _gauge(name: str, said: str, values: Values, labels: Iterable[str] = ()) -> Metric:
    family = GaugeMetricFamily(f"pinxit_{name}", said, labels=list(labels))
    for told, value in values:
        family.add_metric(told, value)
    return family


def _counter(name: str, said: str, values: Values, labels: Iterable[str]) -> Metric:
    family = CounterMetricFamily(f"pinxit_{name}", said, labels=list(labels))
    for told, value in values:
        family.add_metric(told, value)
    return family
