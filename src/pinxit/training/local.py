"""This rank's shard of a tensor that FSDP2 may have sharded by rows among ranks (a DTensor)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is sharded: each rank holds only some of its rows."""
    return isinstance(tensor, DTensor)


def local(tensor: Tensor) -> Tensor:
    """This rank's rows of `tensor`, sharing its memory; `tensor` itself if it is not sharded."""
    if not isinstance(tensor, DTensor):
        return tensor
    with torch.no_grad():
        held: Tensor = tensor.to_local()
    return held


def span(tensor: Tensor) -> tuple[int, int]:
    """(start, stop) of this rank's rows, as FSDP2 shards them: chunks of equal length, the last ones shorter."""
    assert isinstance(tensor, DTensor) and tensor.placements[0].is_shard(0)
    return span_of(tensor.shape[0], tensor.device_mesh.get_local_rank(), tensor.device_mesh.size())


def span_of(length: int, rank: int, world: int) -> tuple[int, int]:
    """(start, stop) of a rank's rows of a tensor that has `length`."""
    chunk = -(-length // world)
    start = min(length, rank * chunk)
    return start, min(length, start + chunk)
