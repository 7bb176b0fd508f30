"""Work for all cores: results in the order of the tasks, few of them waiting in memory, clean on Ctrl-C."""

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
AHEAD = 4  # tasks handed out per worker
NICENESS = 5  # others come first, yet a busy machine still lets us move

_job: Any = None  # what every task of this worker process shares; set once when the process starts


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered(function: Callable[[Job, Task], Result], job: Job, tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Yield `function(job, task)` for every task, in order, from `workers` processes (1: in this very process).

    Processes are spawned, so `function` must live in a module and `job` must pickle; `job` is sent once per process.
    They run niced. Raises what `function` raises, and PinxitError when a process dies.
    """
    if workers <= 1:
        for task in tasks:
            yield function(job, task)
        return
    context = multiprocessing.get_context("spawn")
    with _safe_path():  # its queues start a process that looks after them
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
    """Processes that start inside do not look for modules in the working directory, which may hold a `types.py`."""
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
    """Ctrl-C waits until the end of the block, and is blocked in processes that start inside."""
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    missed: list[tuple[int, FrameType | None]] = []
    # Blocking holds it in this thread only; another thread may take the signal, so the handler waits as well.
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; a task in hand is finished
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(NICENESS)


def _run(function: Callable[[Any, Task], Result], task: Task) -> Result:
    return function(_job, task)
