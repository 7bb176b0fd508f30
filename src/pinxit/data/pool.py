"""A process pool: results in the order of the tasks, only a few waiting in memory, a clean end on Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from types import FrameType
from typing import Any, TypeVar

from pinxit.errors import PinxitError

Job = TypeVar("Job")
Task = TypeVar("Task")
Result = TypeVar("Result")

SAFE = "PYTHONSAFEPATH"
AHEAD = 4  # tasks submitted per worker
NICENESS = 5  # of workers: others come first, but on a busy machine work still goes on

_job: Any = None  # shared by all tasks of a worker process; set once when the process starts


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_map(
    function: Callable[[Job, Task], Result], job: Job, tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """Yield `function(job, task)` for every task, in order, from `workers` processes (1: in this very process).

    Processes are spawned, so `function` must live in a module and `job` must pickle; `job` is sent once per process.
    They run niced. Raises what `function` raises, and PinxitError when a process dies.
    """
    if workers <= 1:
        for task in tasks:
            yield function(job, task)
        return
    context = multiprocessing.get_context("spawn")
    with _safe_path():  # its queues start multiprocessing's resource tracker, a process
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(job,))
    waiting: deque[Future[Result]] = deque()
    rest = iter(tasks)
    try:
        while True:
            ahead = list(islice(rest, workers * AHEAD - len(waiting)))
            with _interrupts_held(), _safe_path():  # submitting starts processes, which inherit both
                waiting.extend(pool.submit(_run, function, task) for task in ahead)
            if not waiting:
                return
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise PinxitError(
            "a worker process died (too little memory, or a script without `if __name__ == '__main__':`); "
            "run the same again to go on where it stopped."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Processes started inside do not import modules from the working directory, where there may be a `types.py`."""
    before = os.environ.get(SAFE)
    os.environ[SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE]
        else:
            os.environ[SAFE] = before


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, and block it in processes that start inside."""
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    missed: list[tuple[int, FrameType | None]] = []
    # The signal mask is of this thread only; another thread may take the signal, so the handler delays it as well.
    handler = signal.signal(signal.SIGINT, lambda number, frame: missed.append((number, frame)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if missed and callable(handler):
            handler(*missed[-1])


def _start(job: Any) -> None:
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it; a running task is finished
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(NICENESS)


def _run(function: Callable[[Any, Task], Result], task: Task) -> Result:
    return function(_job, task)
