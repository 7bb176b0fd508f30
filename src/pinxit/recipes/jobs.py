"""Runs jobs on an engine while the caller waits: their results in order, with progress and previews meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pinxit.pipelines.engine import Engine
from pinxit.pipelines.work import Job

if TYPE_CHECKING:
    from pinxit.types import Picture

PREVIEWS = 1.0  # seconds between two previews


@dataclass(frozen=True)
class PaintProgress:
    """How far painting has come: `share` from 0 to 1, and the newest previews of unfinished pictures."""

    share: float
    preview: Callable[[], list[Picture]]


Watch = Callable[[PaintProgress], None]


def run_jobs(
    engine: Engine, jobs: Sequence[Job], watch: Watch | None, previews: float = PREVIEWS
) -> Generator[list[Any], None, None]:
    """The jobs' results, in their order; the engine runs all jobs while the next one is waited for.

    `watch` gets the progress of that one. Raises the error of a job that failed. If the generator ends early, for
    whatever reason, the remaining jobs are cancelled.
    """
    for job in jobs:
        engine.submit(job)
    try:
        for job in jobs:
            job.previews = previews if watch is not None else job.previews
            while job.outcome is None:
                turned = engine.turn()
                assert turned or job.outcome is not None, "what is asked for can be done"
                if watch is not None:
                    watch(PaintProgress(engine.share(job), partial(_shown, job)))
            if isinstance(job.outcome.data, Exception):
                raise job.outcome.data
            yield job.outcome.data
    finally:
        for job in jobs:
            engine.cancel(job)
        engine.settle()


def _shown(job: Job) -> list[Picture]:
    return [job.looks[place].picture for place in sorted(job.looks)]
