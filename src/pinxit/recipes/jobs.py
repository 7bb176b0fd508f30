"""Runs jobs on an engine while the caller waits: their results in order, with progress and previews meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pinxit.models.torch_defaults import torch_defaults
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
T = TypeVar("T")


def collect_results(results: Callable[[Watch | None], Iterable[T]], count: int, watch: Watch | None) -> list[T]:
    """The `count` results of jobs in a row as a list; `watch` gets the progress of all of them together.

    `results`: takes the watcher of the next job, as `run_jobs` does.
    """
    found: list[T] = []
    if watch is None:
        return [*results(None)]
    outer = watch

    def among(done: PaintProgress) -> None:
        outer(PaintProgress((len(found) + done.share) / count, done.preview))

    for one in results(among):
        found.append(one)
    return found


def run_jobs(
    engine: Engine, jobs: Sequence[Job], watch: Watch | None, previews: float = PREVIEWS
) -> Generator[list[Any], None, None]:
    """The jobs' results, in their order; the engine runs all jobs while the next one is waited for.

    `watch` gets the progress of that one, at last a share of 1. A result that was taken is not kept. Raises the error
    of a job that failed. If the generator ends early, for whatever reason, the remaining jobs are cancelled. Several
    threads may do so with one engine: whoever takes a turn computes for all.
    """
    left = deque(jobs)
    del jobs  # a job that has been taken shall not stay in memory
    for one in left:
        engine.submit(one)
    try:
        while left:
            _finish(engine, left[0], watch, previews)
            yield _taken(left.popleft())
    finally:
        for job in left:
            engine.cancel(job)
        _settle(engine)


def _settle(engine: Engine) -> None:
    """Take the orders that have come, unless a turn is under way, after which its thread takes them.

    It may be this very thread: Python can free a generator that nobody refers to in the middle of any call.
    """
    while engine.ordered and engine.turning.acquire(blocking=False):
        try:
            engine.settle()
        finally:
            engine.turning.release()


def _finish(engine: Engine, job: Job, watch: Watch | None, previews: float) -> None:
    job.previews = previews if watch is not None else job.previews
    while job.outcome is None:
        with engine.turning, torch_defaults():
            turned = job.outcome is None and engine.turn()
            share = engine.share(job)
        assert turned or job.outcome is not None, "what is asked for can be done"
        if watch is not None and job.outcome is None:
            watch(PaintProgress(share, partial(_shown, job)))
    if watch is not None:  # also of one that ended together with another
        watch(PaintProgress(1.0, partial(_shown, job)))


def _taken(job: Job) -> list[Any]:
    """The result of a job that has ended, or its error; the job, which Python frees late, keeps no picture of it."""
    assert job.outcome is not None
    found: list[Any] | Exception = job.outcome.data
    if isinstance(found, Exception):
        raise found
    job.outcome, job.results, job.looks = replace(job.outcome, data=None), {}, {}
    return found


def _shown(job: Job) -> list[Picture]:
    looks = dict(job.looks)  # another thread's turn may add to them
    return [looks[place].picture for place in sorted(looks)]
