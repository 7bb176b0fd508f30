"""The FLOPs and memory of a training step, and the matrix-product rate of the machine.

Their ratio is the logged "share of the matrix rate" (model FLOPs utilisation, with a measured peak). A multiply-add
counts as two operations; counted are matrix products, convolutions and attention, forward and backward.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from pinxit.training.activation_counter import ActivationCounter
from pinxit.training.flop_counter import FlopCounter
from pinxit.training.local import is_sharded
from pinxit.training.optim import buffers_restored, trainable_parameters, weights
from pinxit.training.plan import Batch, Plan, Task
from pinxit.training.precision import autocast
from pinxit.training.recompute import bytes_inside, record_calls
from pinxit.training.rows import all_rows
from pinxit.training.sharding import units_of


@dataclass(frozen=True)
class Cost:
    """The cost of training one task."""

    parameters: int
    flops: float  # per picture, forward and backward
    activation_bytes: float  # kept for the backward pass, per picture; the peak, with `plan.recompute`
    still: int = 0  # frozen parameters (`parameters` counts the trainable ones)
    rows: tuple[tuple[int, int], ...] = ()  # of each trainable tensor: its rows, and the numbers in each row
    still_rows: tuple[tuple[int, int], ...] = ()  # of each frozen tensor
    units: tuple[int, ...] = ()  # parameters of each block that FSDP gathers by itself
    border_bytes: float = 0.0  # with gradient caching: what is kept of every picture, whichever `plan.micro` are run

    def memory(self, plan: Plan, ranks: int = 1) -> float:
        """Bytes that training takes on rank 0 of `ranks`; `plan.batch` is the batch of that rank.

        Trainable parameters: weights, gradients, two Adam moments and the average, in fp32. Frozen ones: weights alone.
        Besides, activations, and with bf16 a copy of all weights. With `plan.shard` and several ranks: see `cut`.
        """
        activations = self.activation_bytes * (plan.micro or plan.batch) + self.border_bytes * plan.batch
        if plan.shard and ranks > 1:
            return self.cut(plan, ranks) + activations
        copies = (2 if plan.precision == "bf16" else 0) * (self.parameters + self.still)
        return self._held(plan, self.parameters, self.still) + copies + activations

    def cut(self, plan: Plan, ranks: int) -> float:
        """Bytes on rank 0 when everything is sharded (FSDP2): its shards, and what it gathers. Without activations.

        Gathered at the same time are all weights outside the units with their gradients, and two units (the next one
        is prefetched), one of them with gradients. The bf16 copies are made of gathered weights, so they are not
        sharded: the backward pass keeps those of all units, or with `plan.recompute` makes one unit's at a time.
        """
        share, rest = (sum(-(-n // ranks) * width for n, width in rows) for rows in (self.rows, self.still_rows))
        outside, largest = self.parameters + self.still - sum(self.units), max(self.units, default=0)
        copied = outside + (largest if plan.recompute else sum(self.units))
        copies = (2 if plan.precision == "bf16" else 0) * copied
        return self._held(plan, share, rest) + 4 * (2 * outside + 3 * largest) + copies

    def _held(self, plan: Plan, learning: int, still: int) -> float:
        return 4 * ((5 if plan.ema else 4) * learning + still)


def measure(task: Task, batch: Batch, plan: Plan, device: torch.device, native: bool = False) -> Cost:
    """Measure one forward and backward pass over `batch` (a few pictures suffice); the task is left as it was.

    `plan.batch`: the pictures of a rank, of which a task that caches gradients runs some `at_once`.
    `native`: see `precision.autocast`.
    """
    modules, border = task.modules(), 0
    size = len(next(iter(batch.values())))
    caching: Callable[[int], AbstractContextManager[object]] = getattr(task, "caching", nullcontext)
    with caching(0):
        flops, activations = _traced(task, batch, plan, device, native)
    if 0 < getattr(task, "at_once", 0) < plan.batch:
        with caching(-(-size // 2)):
            flops, border = _traced(task, batch, plan, device, native, blocks=False)
    every = {id(parameter): parameter for module in modules.values() for parameter in module.parameters()}
    learning = {id(parameter) for parameter in trainable_parameters(modules).values()}
    rows, still = (tuple(_rows(p) for key, p in every.items() if (key in learning) == which) for which in (True, False))
    return Cost(
        sum(map(prod, rows)),
        flops / size,
        (activations - border) / size,
        sum(map(prod, still)),
        rows,
        still,
        tuple(sum(p.numel() for p in unit.parameters()) for m in modules.values() for unit in units_of(m)),
        border / size,
    )


def _traced(
    task: Task, batch: Batch, plan: Plan, device: torch.device, native: bool, blocks: bool = True
) -> tuple[int, int]:
    """Operations of a forward and backward pass, and the bytes kept for it: with `blocks` those inside of one, too."""
    modules, inside = task.modules(), 0
    kept = ActivationCounter(weights(modules).values())
    with buffers_restored(modules), record_calls(modules) as calls, FlopCounter() as counter:
        with autocast(plan, device, native), kept:
            loss, _ = task.loss(batch, all_rows(0, len(next(iter(batch.values())))))
        torch.autograd.backward(loss)
    parameters = trainable_parameters(modules)
    if blocks and not any(map(is_sharded, parameters.values())):  # gathered weights would be counted as activations
        with buffers_restored(modules), autocast(plan, device, native):
            inside = max((bytes_inside(*call) for call in calls.items()), default=0)
    for parameter in parameters.values():
        parameter.grad = None
    return counter.flops, inside + kept.bytes


def _rows(parameter: Tensor) -> tuple[int, int]:
    return (parameter.shape[0], prod(parameter.shape[1:])) if parameter.ndim else (1, 1)


MEASURED = 1.0  # seconds of matrix products, of which the fastest counts


@lru_cache
def matrix_rate(dtype: torch.dtype, device_type: str) -> float:
    """Operations per second of a large matrix product on this machine: the fastest of those run in MEASURED seconds."""
    side = 8192 if device_type == "cuda" else 1536
    a, b = (torch.ones(side, side, device=device_type, dtype=dtype) for _ in range(2))
    sync: Callable[[], None] = torch.cuda.synchronize if device_type == "cuda" else lambda: None
    best, end = float("inf"), time.perf_counter() + MEASURED
    for number in range(400):
        start = time.perf_counter()
        a @ b
        sync()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end and number >= 3:
            break
    return 2 * side**3 / best
