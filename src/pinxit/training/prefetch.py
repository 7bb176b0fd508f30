"""Batches made ahead of their use, in order, by other threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from pinxit.training.plan import Batch, Plan, Task

Pieces = list[Batch]
"""One update's batch, cut into what goes through the modules at once."""


@contextmanager
def prefetch(task: Task, plan: Plan, start: int, goal: int, device: torch.device) -> Iterator[Iterator[Pieces]]:
    """Yield an iterator over the batches from `start` images seen until `goal` is reached, already on `device`.

    A batch is a pure function of its position, so threads cannot change what it holds, only when it is ready.
    """
    workers, ahead = (6, 12) if device.type == "cuda" else (1, 2)
    with ThreadPoolExecutor(workers, "batches") as pool:
        try:
            yield _stream(task, plan, start, goal, device, pool, ahead)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stream(
    task: Task, plan: Plan, start: int, goal: int, device: torch.device, pool: ThreadPoolExecutor, ahead: int
) -> Iterator[Pieces]:
    waiting: deque[Future[Pieces]] = deque()
    position = start
    while True:
        while len(waiting) < ahead and position < goal:
            waiting.append(pool.submit(_make, task, plan, position, device.type == "cuda"))
            position += plan.batch
        if not waiting:
            return
        yield [
            {name: tensor.to(device, non_blocking=True) for name, tensor in piece.items()}
            for piece in waiting.popleft().result()
        ]


def _make(task: Task, plan: Plan, position: int, pin: bool) -> Pieces:
    size = plan.micro or plan.batch
    pieces = [task.batch(position + number * size, size) for number in range(plan.pieces)]
    return [{name: tensor.pin_memory() for name, tensor in piece.items()} for piece in pieces] if pin else pieces
