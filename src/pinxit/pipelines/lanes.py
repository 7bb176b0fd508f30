"""Calls side by side on a CPU: every lane is a thread that computes by itself, as no operation waits for another core.

All cores in every operation are as fast where nothing else runs; beside one busy process each operation waits until the
core that it shares is given back, which makes networks of small operations ten times slower (docs/log.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

GPU_ROWS = 16


class Lanes:
    """As many threads as torch has on a CPU; on a GPU one, which is the caller's own."""

    def __init__(self, device: torch.device, count: int | None = None) -> None:
        threads = torch.get_num_threads()
        self.count = 1 if device.type != "cpu" else count or threads
        self.pool: ThreadPoolExecutor | None = None
        if device.type == "cpu":
            self.pool = ThreadPoolExecutor(self.count, "pinxit-lane", _alone)
            met = threading.Barrier(self.count)
            wait([self.pool.submit(met.wait) for _ in range(self.count)])
            torch.set_num_threads(threads)  # which new threads of others begin with; the lanes keep their own

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """What each gives, in their order; the first error, when all have ended."""
        if self.pool is None:
            return [call() for call in calls]
        futures = [self.pool.submit(call) for call in calls]
        try:
            wait(futures)
        except BaseException:  # an interrupt: what the calls work on must not be let go under them
            wait(futures)
            raise
        return [future.result() for future in futures]


def tile_of(device: torch.device, on_a_cpu: int) -> int:
    """Items or rows of a call: few on a CPU, whose lanes share them, and 16 on a GPU."""
    return on_a_cpu if device.type == "cpu" else GPU_ROWS


def _alone() -> None:
    torch.get_num_threads()  # a thread's first question sets its number to the process's, so ask before it is set
    torch.set_num_threads(1)
