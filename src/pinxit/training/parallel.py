"""Data-parallel training: the processes (ranks) that torchrun starts, each with its share of the batch.

Each rank has a copy of the model, or shards of it (`training.sharding`). Gradients are summed over ranks before the
update, so that all ranks make the same one. Every random draw depends on a picture's position alone, so that two ranks
compute what one rank computes with two micro-batches. Rank 0 writes files. Without torchrun there is one rank.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from pinxit.errors import UsageError
from pinxit.training.plan import Plan, Task
from pinxit.training.rows import Rows, all_rows

PATIENCE = timedelta(days=7)  # timeout of a collective: others may wait long while rank 0 draws previews or writes
BUCKET = 2**24  # numbers per all-reduce: few large calls are fast, and the flat copy that each needs stays small


@dataclass(frozen=True)
class Ranks:
    """This process among all ranks, with the collectives that training needs."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  a constant

    @property
    def lead(self) -> bool:
        """Whether this is rank 0, which writes files and shows progress."""
        return self.rank == 0

    def rows(self, task: Task, plan: Plan, first: int) -> list[Rows]:
        """This rank's micro-batches of the update that begins when `first` pictures have been seen."""
        share = plan.batch // self.world
        mine = list(all_rows(first, plan.batch).cut(share))[self.rank]
        return list(mine.cut(self.piece(task, plan)))

    def piece(self, task: Task, plan: Plan) -> int:
        """Rows in a micro-batch of `task`. Raises UsageError if ranks and micro-batches do not divide the batch."""
        return rows_together(replace(plan, micro=0) if pieces_of(task) == "one" else plan, self.world)

    def agreed(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank. All ranks must call this, and wait for each other."""
        if self.world == 1:
            return flag
        gathered = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(gathered, distributed.ReduceOp.MAX)
        return bool(gathered)

    def broadcast(self, number: int) -> int:
        """Rank 0's `number`, on all ranks."""
        if self.world == 1:
            return number
        sent = torch.tensor(number, device=self.device)
        distributed.broadcast(sent, 0)
        return int(sent)

    def wait(self) -> None:
        """A barrier: return when all ranks have called this."""
        self.agreed(False)

    def mean(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The mean over ranks of each number; every rank must have the same names in the same order."""
        if self.world == 1:
            return dict(numbers)
        gathered = torch.tensor(list(numbers.values()), dtype=torch.float64, device=self.device)
        distributed.all_reduce(gathered)
        return dict(zip(numbers, (gathered / self.world).tolist(), strict=True))

    def sum(self, values: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Sum over ranks the gradients of `parameters`, which are not sharded; returns the sum of the scalar `loss`.

        A parameter that was used on some ranks only gets a gradient of zero on the others.
        """
        if self.world == 1:
            return loss
        here = [float(parameter.grad is not None) for parameter in parameters]
        gathered = torch.cat([loss.float().view(1), torch.tensor(here, device=loss.device)])
        distributed.all_reduce(gathered)
        grads = []
        for parameter, used in zip(parameters, (gathered[1:] > 0).tolist(), strict=True):
            if used and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad is not None:
                grads.append(parameter.grad)
        for bucket in _buckets(grads):
            flat = torch.cat([grad.reshape(-1) for grad in bucket])
            distributed.all_reduce(flat)
            for grad, part in zip(bucket, torch.split(flat, [grad.numel() for grad in bucket]), strict=True):
                grad.copy_(part.view_as(grad))
        return gathered[0]

    def share_buffers(self, modules: Mapping[str, nn.Module]) -> None:
        """Copy rank 0's buffers, such as running means of the rows that it saw, to all ranks."""
        for module in modules.values() if self.world > 1 else ():
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)


def rows_together(plan: Plan, world: int, setting: str = "plan.micro") -> int:
    """Rows in a micro-batch on each of `world` ranks; `setting`: what a user calls `plan.micro`.

    Raises UsageError: see `Ranks.piece`.
    """
    if plan.batch % world:
        raise UsageError(f"a batch of {plan.batch} cannot be shared among {world} ranks: change plan.batch.")
    share = plan.batch // world
    if not plan.micro or plan.micro >= share:
        return share
    if share % plan.micro:
        raise UsageError(f"{setting}={plan.micro} does not divide the {share} pictures of a rank.")
    return plan.micro


def pieces_of(task: Task) -> str:
    """Whether splitting a batch into micro-batches changes what a task learns: see `pieces` of `Task`."""
    return str(getattr(task, "pieces", "alike"))


def join_ranks(device: torch.device | None = None) -> Ranks:
    """This process among those that torchrun has started; the first call initialises the process group.

    `device`: where to train, by default on a GPU if there is one. Any "cuda" becomes this rank's own GPU (LOCAL_RANK).
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 and not (distributed.is_available() and distributed.is_initialized()):
        return Ranks(device=device or torch.device("cpu"))
    if device is None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(_leave)
    return Ranks(distributed.get_rank(), distributed.get_world_size(), device)


def is_lost_rank(error: BaseException) -> bool:
    """Whether `error` only means that another rank has ended. That rank reports the reason itself."""
    together = distributed.is_available() and distributed.is_initialized()
    return together and isinstance(error, RuntimeError) and any(name in str(error) for name in ("gloo", "NCCL"))


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    room = BUCKET
    for tensor in tensors:
        if bucket and (tensor.numel() > room or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, room = [], BUCKET
        bucket.append(tensor)
        room -= tensor.numel()
    if bucket:
        yield bucket
