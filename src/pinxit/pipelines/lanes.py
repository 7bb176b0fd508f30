"""Parallel calls on a CPU: every lane is a thread whose operations use one core, so that none waits for another core.

Operations that use all cores are as fast on an idle machine. Beside one other busy process, though, each of them waits
for the core that it shares, which makes networks of small operations ten times slower (docs/log.md).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

GPU_ROWS = 16


class Lanes:
    """On a CPU as many threads as torch has; on a GPU one lane, which is the caller's own thread."""

    def __init__(self, device: torch.device, count: int | None = None) -> None:
        self.count = 1 if device.type != "cpu" else count or torch.get_num_threads()
        self.pool: ThreadPoolExecutor | None = None
        if device.type == "cpu":
            self._start()

    def _start(self) -> None:
        threads = torch.get_num_threads()
        self.pool, self.process = ThreadPoolExecutor(self.count, "pinxit-lane", _alone), os.getpid()
        met = threading.Barrier(self.count)
        wait([self.pool.submit(met.wait) for _ in range(self.count)])
        torch.set_num_threads(threads)  # the default for other new threads again; the lanes keep theirs

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The calls' results, in their order; raises the first error when all have ended."""
        if self.pool is None:
            return [call() for call in calls]
        if self.process != os.getpid():  # a fork has none of its parent's threads, neither ours nor those of OpenMP,
            torch.set_num_threads(1)  # for which an operation on several would wait forever
            self._start()
        futures = [self.pool.submit(call) for call in calls]
        try:
            wait(futures)
        except BaseException:  # an interrupt: the caller must not free what the calls still work on
            wait(futures)
            raise
        return [future.result() for future in futures]


def tile_of(device: torch.device, on_a_cpu: int) -> int:
    """Rows of a call: `on_a_cpu` on a CPU, where every lane makes calls of its own, and 16 on a GPU."""
    return on_a_cpu if device.type == "cpu" else GPU_ROWS


def _alone() -> None:
    torch.get_num_threads()  # the first use in a thread initialises its count from the process's
    torch.set_num_threads(1)
