"""Prefetching: batches are made ahead of their use, in order, by threads, or by processes where a GPU waits for them.

Python runs one thread at a time. A GPU that is told what to do by the thread that has to wait for six others which make
batches stands idle, so there these are processes (torch's DataLoader).
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from pinxit.data.pool import cores
from pinxit.errors import PinxitError
from pinxit.training.parallel import Ranks
from pinxit.training.plan import Batch, Plan, Task
from pinxit.training.rows import Rows

Pieces = list[tuple[Rows, Batch]]
"""The micro-batches of one update on this rank."""

WORKERS = 6  # threads or processes that make batches for a GPU
AHEAD = 12  # batches


@contextmanager
def prefetch(
    task: Task, plan: Plan, start: int, goal: int, device: torch.device, ranks: Ranks
) -> Iterator[Iterator[Pieces]]:
    """Yield an iterator over this rank's batches on `device`, from `start` images seen until `goal`.

    A batch is a pure function of its position, so the workers influence when it is ready, not what it holds.
    """
    updates = Updates(task, plan, ranks, range(start, goal, plan.batch))
    if device.type == "cuda" and hasattr(os, "fork") and getattr(task, "can_fork", lambda: False)():
        with in_processes(updates, min(WORKERS, cores()), pin=True) as made:
            yield (_placed(pieces, device) for pieces in made)
        return
    workers, ahead = (WORKERS, AHEAD) if device.type == "cuda" else (1, 2)
    with ThreadPoolExecutor(workers, "batches") as pool:
        try:
            yield _stream(updates, device, pool, ahead)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Updates(Dataset[Pieces]):
    """The batches of this rank by the number of the update, counted from the first of `starts`."""

    task: Task
    plan: Plan
    ranks: Ranks
    starts: range  # images seen when each update begins

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Pieces:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return [(rows, self.task.batch(rows)) for rows in self.ranks.rows(self.task, self.plan, self.starts[number])]


@contextmanager
def in_processes(updates: Updates, workers: int, pin: bool) -> Iterator[Iterator[Pieces]]:
    """Yield the batches in order, made by forked processes. `pin`: in memory from which a GPU can copy.

    For a task that `can_fork`: a forked process cannot use the GPU or the connections of its parent. Raises
    PinxitError with what a batch could not be made for, and when a process dies: torch notices that by a signal, so
    anywhere in the block.
    """
    made = _made(updates, workers, pin)
    try:
        yield made
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise PinxitError(
            "a process that makes batches died (too little memory, or in a container too little shared memory: "
            "docker run --shm-size=8g); the same command goes on from the last save."
        ) from error
    finally:
        made.close()  # ends the processes


def _made(updates: Updates, workers: int, pin: bool) -> Generator[Pieces, None, None]:
    loader = DataLoader(
        _ErrorsAsItems(updates),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=max(1, AHEAD // workers),
        collate_fn=_as_it_is,
        pin_memory=pin,
        worker_init_fn=_begin,
        multiprocessing_context="fork",
    )
    batches: Any = iter(loader)
    try:
        for made in batches:
            if isinstance(made, PinxitError):
                raise made
            yield made
    finally:
        batches._shutdown_workers()  # also where an error's traceback still refers to them
        for process in batches._workers:
            process.kill()  # one that hangs: torch's SIGTERM is left to the parent, which would wait for it at its end


@dataclass(frozen=True)
class _ErrorsAsItems(Dataset[Pieces | PinxitError]):
    """The batches, or instead of one what was wrong: torch would put the process's traceback into the message."""

    updates: Updates

    def __len__(self) -> int:
        return len(self.updates)

    def __getitem__(self, number: int) -> Pieces | PinxitError:
        try:
            return self.updates[number]
        except PinxitError as error:
            return PinxitError(str(error))


def _as_it_is(made: Pieces | PinxitError) -> Pieces | PinxitError:
    return made


def _begin(_number: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a group of processes is told at once: the parent saves first
        signal.signal(number, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # tokenizers would warn that it cannot start threads after a fork


def _stream(updates: Updates, device: torch.device, pool: ThreadPoolExecutor, ahead: int) -> Iterator[Pieces]:
    waiting: deque[Future[Pieces]] = deque()
    coming, pin = iter(range(len(updates))), device.type == "cuda"
    for _ in range(len(updates)):
        for number in islice(coming, ahead - len(waiting)):
            waiting.append(pool.submit(_make, updates, number, pin))
        yield _placed(waiting.popleft().result(), device)


def _make(updates: Updates, number: int, pin: bool) -> Pieces:
    made = updates[number]
    if not pin:
        return made
    return [(rows, {name: tensor.pin_memory() for name, tensor in batch.items()}) for rows, batch in made]


def _placed(pieces: Pieces, device: torch.device) -> Pieces:
    return [
        (rows, {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}) for rows, batch in pieces
    ]
