"""Muon: momentum made orthogonal, for the matrices and kernels inside a network (Jordan et al. 2024).

Adam scales every entry of an update by its own history; Muon gives every direction of a matrix the same length, so
that rare ones are learned as fast as common ones. Gains, biases, tables and a network's first and last layers stay with
AdamW. Scale of the update: Liu et al. 2025 (arXiv 2502.16982), section 2.2, so that Adam's learning rates serve.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from pinxit.training.local import is_cut, local
from pinxit.training.optim import adamw, decays, trained
from pinxit.training.plan import Plan

MOMENTUM = 0.95
ADAM_RMS = 0.2  # root mean square of a usual update of Adam's, in units of the learning rate
SMALLEST = 64  # a matrix with a shorter side is left to AdamW
ENDS = ("stem", "embed", "out", "head", "bypass")  # in the first part of a name: what meets data or answers
PARTS = {"qkv": 3, "text_kv": 2}  # maps that hold several side by side, each made orthogonal by itself
QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's: singular values of 0.001 to 1 land in 0.7 to 1.2 after five rounds
ROUNDS = 5


def muon(modules: Mapping[str, nn.Module], plan: Plan) -> Muon:
    """Muon over the matrices inside the modules and `adamw` over everything else."""
    inside = {name: p for name, p in trained(modules).items() if _inside(modules, name, p)}
    rest = adamw(modules, plan, without=frozenset(inside))
    return Muon({p: _parts(name) for name, p in inside.items()}, rest, plan.lr, plan.decay)


class Muon(torch.optim.Optimizer):
    """One optimiser to the loop: it owns the matrices, and `rest` the other parameters."""

    def __init__(self, parts: Mapping[nn.Parameter, int], rest: torch.optim.AdamW, lr: float, decay: float) -> None:
        """`parts`: the matrices [rows, ...], and how many stand one above the other in each."""
        super().__init__([{"params": list(parts), "weight_decay": decay}], {"lr": lr})
        self.parts, self.rest = parts, rest
        self.own = self.param_groups[0]
        rest.state = self.state
        self.param_groups += rest.param_groups

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "the loop has computed the gradients"
        self.rest.step()
        whole = [p for p in self.own["params"] if p.grad is not None and not is_cut(p)]
        cut = [p for p in self.own["params"] if p.grad is not None and is_cut(p)]
        self._step_whole(whole)
        self._step_cut(cut)

    def _step_whole(self, parameters: Sequence[nn.Parameter]) -> None:
        alike: defaultdict[Any, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in parameters:
            weights, updates = as_rows(parameter, parameter), as_rows(self._ahead(parameter), parameter)
            count = self.parts[parameter]
            for weight, update in zip(weights.chunk(count), updates.chunk(count), strict=True):
                alike[update.shape].append((weight, update))
        dealt = 0
        for shape, pairs in alike.items():
            made = by_owners([update for _, update in pairs], dealt)
            dealt += len(pairs)
            for (weight, _), update in zip(pairs, made, strict=True):
                self._add(weight, update, shape)

    def _step_cut(self, parameters: Sequence[nn.Parameter]) -> None:
        """Matrices of which each rank holds rows: as many at a time as there are ranks travel to one owner each."""
        alike: defaultdict[Any, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            alike[(len(parameter), parameter[0].numel(), self.parts[parameter])].append(parameter)
        for (rows, columns, count), some in alike.items():
            world = distributed.get_world_size()
            for first in range(0, len(some), world):
                few = some[first : first + world]
                made = by_travel([self._ahead(p).reshape(-1, columns) for p in few], rows, count)
                for parameter, update in zip(few, made, strict=True):
                    self._add(local(parameter).view(-1, columns), update, (rows // count, columns))

    def _add(self, weight: Tensor, update: Tensor, shape: Sequence[int]) -> None:
        """`shape`: of the matrix that was made orthogonal, of which `weight` may be some rows."""
        rate, decay = self.own["lr"], self.own["weight_decay"]
        weight.mul_(1 - rate * decay)
        weight.add_(update, alpha=-rate * ADAM_RMS * math.sqrt(max(shape)))

    def _ahead(self, parameter: nn.Parameter) -> Tensor:
        """The gradient averaged over updates, looking one ahead (Nesterov); of what is cut this rank's rows."""
        assert parameter.grad is not None
        held = self.state[parameter]
        if "exp_avg" not in held:
            held["exp_avg"] = torch.zeros_like(parameter)
        grad, average = local(parameter.grad), local(held["exp_avg"])
        average.lerp_(grad, 1 - MOMENTUM)
        return grad.lerp(average, MOMENTUM)


def as_rows(values: Tensor, kernel: Tensor) -> Tensor:
    """`values` [O, I, ...] as [O, N], what one output reads, in the order in which `kernel` lies in memory."""
    return (values if kernel.is_contiguous() else values.movedim(1, -1)).reshape(len(values), -1)


def orthogonal(update_KMN: Tensor) -> Tensor:
    """The nearest matrices with all singular values about 1, by Newton and Schulz's iteration in bfloat16."""
    x = update_KMN.mT if update_KMN.shape[1] > update_KMN.shape[2] else update_KMN
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if update_KMN.shape[1] > update_KMN.shape[2] else x).to(update_KMN.dtype)


def by_owners(updates: Sequence[Tensor], first: int) -> Sequence[Tensor]:
    """`orthogonal` of each [M, N] of the `updates`; with ranks, each makes its own and is sent the others'.

    They are dealt in turn, the first of these to rank `first`, counted round.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return orthogonal(torch.stack(list(updates))).unbind()
    world, count = distributed.get_world_size(), len(updates)
    own = range((distributed.get_rank() - first) % world, count, world)
    made = updates[0].new_zeros(-(-count // world), *updates[0].shape)
    if own:
        made[: len(own)] = orthogonal(torch.stack([updates[k] for k in own]))
    parts = [torch.empty_like(made) for _ in range(world)]
    distributed.all_gather(parts, made)
    return [parts[(first + k) % world][k // world] for k in range(count)]


def by_travel(held: Sequence[Tensor], rows: int, count: int) -> list[Tensor]:
    """`orthogonal` of matrices [rows, N], at most one for each rank, of each of which this rank holds some rows.

    `count` stand one above the other in each. The k-th travels to rank k, whose answer travels back.
    """
    world, columns = distributed.get_world_size(), held[0].shape[1]
    chunk = -(-rows // world)
    sent = held[0].new_zeros(world, chunk, columns)
    for k, part in enumerate(held):
        sent[k, : len(part)] = part
    came = torch.empty_like(sent)
    distributed.all_to_all_single(came, sent)
    if distributed.get_rank() < len(held):
        whole = came.view(-1, columns)[:rows]  # chunks stand in the order of ranks, and only the last ones are shorter
        whole.copy_(orthogonal(torch.stack(whole.chunk(count))).flatten(0, 1))
    distributed.all_to_all_single(sent, came)
    return [sent[k, : len(part)] for k, part in enumerate(held)]


def _inside(modules: Mapping[str, nn.Module], name: str, parameter: nn.Parameter) -> bool:
    first = name.partition("/")[2].partition(".")[0]
    if not decays(modules, name) or any(word in first for word in ENDS):
        return False
    return min(len(parameter), parameter[0].numel()) >= SMALLEST


def _parts(name: str) -> int:
    return PARTS.get(name.split(".")[-2], 1) if "." in name else 1
