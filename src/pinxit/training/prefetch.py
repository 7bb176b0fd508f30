"""Prefetching: batches are made ahead of their use, in order, by other threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import torch

from pinxit.training.parallel import Ranks
from pinxit.training.plan import Batch, Plan, Task
from pinxit.training.rows import Rows

Pieces = list[tuple[Rows, Batch]]
"""The micro-batches of one update on this rank."""


@contextmanager
def prefetch(
    task: Task, plan: Plan, start: int, goal: int, device: torch.device, ranks: Ranks
) -> Iterator[Iterator[Pieces]]:
    """Yield an iterator over this rank's batches on `device`, from `start` images seen until `goal`.

    A batch is a pure function of its position, so the threads influence when it is ready, not what it holds.
    """
    workers, ahead = (6, 12) if device.type == "cuda" else (1, 2)
    with ThreadPoolExecutor(workers, "batches") as pool:
        try:
            yield _stream(task, plan, range(start, goal, plan.batch), device, pool, ahead, ranks)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stream(
    task: Task,
    plan: Plan,
    updates: range,
    device: torch.device,
    pool: ThreadPoolExecutor,
    ahead: int,
    ranks: Ranks,
) -> Iterator[Pieces]:
    waiting: deque[Future[Pieces]] = deque()
    coming = iter(updates)
    for _ in updates:
        for first in islice(coming, ahead - len(waiting)):
            waiting.append(pool.submit(_make, task, ranks.rows(task, plan, first), device.type == "cuda"))
        yield [
            (rows, {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()})
            for rows, batch in waiting.popleft().result()
        ]


def _make(task: Task, pieces: list[Rows], pin: bool) -> Pieces:
    made = [(rows, task.batch(rows)) for rows in pieces]
    if not pin:
        return made
    return [(rows, {name: tensor.pin_memory() for name, tensor in batch.items()}) for rows, batch in made]
