"""Ranks as processes forked from this one, for that imports nothing anew."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed, multiprocessing

from pinxit.training.flops import matrix_rate


def forked(ranks: int, work: Callable[..., None], *given: Any) -> None:
    """Have each rank call `work(rank, *given)` with one thread, in a process group of them all."""
    import torch._dynamo
    import torch.distributed.fsdp

    matrix_rate(torch.float32, "cpu")  # which each rank would else measure
    start: Any = multiprocessing.start_processes  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as place:
        start(_begin, (ranks, f"{place}/meet", work, given), ranks, start_method="fork")


def _begin(rank: int, ranks: int, meet: str, work: Callable[..., None], given: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=ranks)
    work(rank, *given)
    distributed.destroy_process_group()
