"""GET /metrics in Prometheus' text format. Gauges are read from their source when asked for, so they cannot drift.

Label values are names from the code and the settings, never input of clients.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pinxit.serve.catalog import WARM_UP

if TYPE_CHECKING:
    from pinxit.serve.admission import Admission
    from pinxit.serve.dispatcher import Dispatcher, JobHandle

SECONDS_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)


class Metrics:
    """The metrics of a running server."""

    def __init__(self, dispatcher: Dispatcher, admission: Admission) -> None:
        self.dispatcher, self.admission = dispatcher, admission
        self.ends: Counter[tuple[str, str]] = Counter()
        self.registry = CollectorRegistry()
        self.preview = _histogram("first_preview_seconds", "From submission to the first preview", self.registry)
        self.picture = _histogram("picture_seconds", "From submission to the finished pictures", self.registry)
        self.commit = Histogram("pinxit_commit_seconds", "A commit of the job store", registry=self.registry)
        self.registry.register(self)
        dispatcher.on_end.append(self._ended)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are found when metrics are collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Metrics that are read at the time of the request."""
        load = self.dispatcher.runner.load
        yield _gauge("jobs", "Jobs that have not ended", [((), len(self.dispatcher.handles))])
        yield _gauge("waiting_items", "Queued items", _labelled(load.waiting), ["stage"])
        yield _gauge("rows_held", "Items being computed", [((), load.rows)])
        yield _gauge("backlog_seconds", "Estimated seconds of unfinished work", [((), self.admission.backlog())])
        yield _gauge("seconds_since_turn", "Since the engine's last turn", [((), time.perf_counter() - load.last_turn)])
        yield _counter("jobs", "Jobs that ended", list(self.ends.items()), ["recipe", "outcome"])
        yield _counter(
            "refused", "Requests refused by admission control", _labelled(self.admission.refused), ["reason"]
        )
        usage = self.dispatcher.runner.engine.usage
        yield _counter(
            "busy_seconds",
            "Time spent in calls of a stage",
            [((k,), one.seconds) for k, one in usage.items()],
            ["stage"],
        )
        yield _counter("calls", "Calls of a stage", [((k,), one.calls) for k, one in usage.items()], ["stage"])
        rows: list[tuple[tuple[str, ...], float]] = [((k, "used"), one.used) for k, one in usage.items()]
        rows += [((k, "padded"), one.padded) for k, one in usage.items()]
        yield _counter("rows", "Rows computed", rows, ["stage", "kind"])

    def _ended(self, handle: JobHandle, seconds: dict[str, float]) -> None:
        assert handle.outcome is not None
        if handle.job.client == WARM_UP:  # takes as long as first calls do, and nobody has asked for it
            return
        self.ends[handle.model.name if handle.model else "clip", handle.outcome.kind] += 1
        if handle.outcome.kind == "done" and handle.model is not None:
            self.picture.observe(time.perf_counter() - handle.began)
            if handle.first_preview is not None:
                self.preview.observe(handle.first_preview - handle.began)


Values = Iterable[tuple[tuple[str, ...], float]]


def _labelled(counts: Mapping[str, int]) -> Values:
    return [((name,), value) for name, value in counts.items()]


def _histogram(name: str, text: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(f"pinxit_{name}", text, registry=registry, buckets=SECONDS_BUCKETS)


def _gauge(name: str, text: str, values: Values, labels: Iterable[str] = ()) -> Metric:
    family = GaugeMetricFamily(f"pinxit_{name}", text, labels=list(labels))
    for labels_of, value in values:
        family.add_metric(labels_of, value)
    return family


def _counter(name: str, text: str, values: Values, labels: Iterable[str]) -> Metric:
    family = CounterMetricFamily(f"pinxit_{name}", text, labels=list(labels))
    for labels_of, value in values:
        family.add_metric(labels_of, value)
    return family
