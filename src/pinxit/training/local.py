"""What this rank holds of a tensor that may be cut by rows among ranks (DTensors of FSDP2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def is_cut(tensor: Tensor) -> bool:
    """Whether a rank holds some rows of it alone."""
    return isinstance(tensor, DTensor)


def local(tensor: Tensor) -> Tensor:
    """This rank's rows, in the memory of `tensor`; all of what is not cut."""
    if not isinstance(tensor, DTensor):
        return tensor
    with torch.no_grad():
        held: Tensor = tensor.to_local()
    return held


def span(tensor: Tensor) -> tuple[int, int]:
    """From which row to which this rank's are, by FSDP2's rule: chunks of equal length, the last ones shorter."""
    assert isinstance(tensor, DTensor) and tensor.placements[0].is_shard(0)
    length, world = tensor.shape[0], tensor.device_mesh.size()
    chunk = -(-length // world)
    start = min(length, tensor.device_mesh.get_local_rank() * chunk)
    return start, min(length, start + chunk)
