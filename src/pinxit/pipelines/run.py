"""Runs one worker without a graph: requests in, results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pinxit.pipelines.engine import Engine
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.work import Job
from pinxit.pipelines.worker import Worker


def run(worker: Worker, requests: Sequence[Any], between: Callable[[Engine, Job], None] | None = None) -> list[Any]:
    """The requests' results, in their order; `between` is called after every turn. Raises what they raise."""
    engine, job = Engine(Graph([Stage("it", worker)], {})), Job([(("it",), request) for request in requests])
    engine.submit(job)
    while job.outcome is None:
        computed = engine.turn()
        assert computed or job.outcome is not None
        if between is not None:
            between(engine, job)
    if isinstance(job.outcome.data, Exception):
        raise job.outcome.data
    return job.values()
