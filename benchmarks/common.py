"""What the machine can do right now: measured beside every benchmark, so that shares of the limit mean something."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, rounds: int = 10, warm_up: int = 2) -> list[float]:
    """Wall-clock seconds of each of `rounds` calls, after `warm_up` that do not count."""
    taken = []
    for number in range(warm_up + rounds):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        if number >= warm_up:
            taken.append(time.perf_counter() - start)
    return taken


def matrix_rate(device: torch.device, dtype: torch.dtype, rounds: int = 10, side: int = 2048) -> float:
    """Operations per second of a square matrix product: the best of `rounds`. A multiply-add is two operations."""
    a = torch.ones(side, side, device=device, dtype=dtype)
    return 2 * side**3 / min(seconds(lambda: a @ a, device, rounds))


def alternating(contenders: Sequence[Callable[[], object]], device: torch.device, rounds: int) -> list[list[float]]:
    """Seconds of every contender in every round, in turns, so that a busy machine is busy for all of them."""
    taken: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for times, work in zip(taken, contenders, strict=True):
            (spent,) = seconds(work, device, rounds=1, warm_up=0)
            if number:  # the first round warms up
                times.append(spent)
    return taken


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median over rounds of slow / fast: what both suffered in a round cancels."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
