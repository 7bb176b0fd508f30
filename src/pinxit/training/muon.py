"""Muon, an optimiser that orthogonalises the momentum of a network's inner matrices and kernels (Jordan et al. 2024).

Adam scales every entry of an update by its own history; Muon makes all singular values of a matrix's update about
equal, so that rare directions are learned as fast as common ones. Gains, biases, embedding tables and a network's first
and last layers are left to AdamW. Updates are scaled to the RMS of Adam's (Liu et al. 2025, arXiv 2502.16982, section
2.2), so that learning rates tuned for Adam can be kept.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from pinxit.models.dtypes import fastest_dtype
from pinxit.training.local import is_sharded, local
from pinxit.training.lora import DOWN, INSIDE
from pinxit.training.optim import adamw, decays, trainable_parameters
from pinxit.training.plan import Plan

MOMENTUM = 0.95
ADAM_RMS = 0.2  # typical root mean square of an update by Adam, in units of the learning rate
SMALLEST = 64  # a matrix with a shorter side is left to AdamW
ENDS = ("stem", "embed", "out", "head", "bypass")  # words in the first part of a name: input and output layers
INPUTS = ("conditioning.image.",)
"""Input layers further inside. A picture's embedding enters through weights that begin at zero, and Muon's updates have
a fifth of Adam's usual size: after 350 of them a decoder still hardly looked at it (docs/log.md)."""
PARTS = {"qkv": 3, "text_kv": 2}  # packed matrices, by name: how many each holds; every one is orthogonalised by itself
QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's: singular values from 0.001 to 1 end in 0.7 to 1.2 after five rounds
ROUNDS = 5


def muon(modules: Mapping[str, nn.Module], plan: Plan) -> Muon:
    """Muon for the inner matrices of the modules, and `adamw` for everything else."""
    inside = {name: p for name, p in trainable_parameters(modules).items() if _inside(modules, name, p)}
    rest = adamw(modules, plan, without=frozenset(inside))
    return Muon({p: _parts(name) for name, p in inside.items()}, rest, plan.lr, plan.decay)


class Muon(torch.optim.Optimizer):
    """Updates the matrices, and calls `rest` for the other parameters: the loop sees a single optimiser."""

    def __init__(self, parts: Mapping[nn.Parameter, int], rest: torch.optim.AdamW, lr: float, decay: float) -> None:
        """`parts`: the matrices [rows, ...], and how many matrices are stacked along the rows of each (qkv: 3)."""
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
        whole = [p for p in self.own["params"] if p.grad is not None and not is_sharded(p)]
        cut = [p for p in self.own["params"] if p.grad is not None and is_sharded(p)]
        self._step_whole(whole)
        self._step_cut(cut)

    def _step_whole(self, parameters: Sequence[nn.Parameter]) -> None:
        alike: defaultdict[Any, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, ahead in zip(parameters, self._ahead(parameters), strict=True):
            weights, updates = as_rows(parameter, parameter), as_rows(ahead, parameter)
            count = self.parts[parameter]
            for weight, update in zip(weights.chunk(count), updates.chunk(count), strict=True):
                alike[update.shape].append((weight, update))
        dealt = 0
        for shape, pairs in alike.items():
            made = orthogonal_by_rank([update for _, update in pairs], dealt)
            dealt += len(pairs)
            self._add([weight for weight, _ in pairs], made, shape)

    def _step_cut(self, parameters: Sequence[nn.Parameter]) -> None:
        """Update sharded matrices: each is sent whole to one rank and orthogonalised there, one a rank at a time."""
        alike: defaultdict[Any, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            alike[(len(parameter), parameter[0].numel(), self.parts[parameter])].append(parameter)
        for (rows, columns, count), some in alike.items():
            world = distributed.get_world_size()
            for first in range(0, len(some), world):
                few = some[first : first + world]
                made = orthogonal_of_shards([ahead.reshape(-1, columns) for ahead in self._ahead(few)], rows, count)
                self._add([local(p).view(-1, columns) for p in few], made, (rows // count, columns))

    def _add(self, weights: list[Tensor], updates: Sequence[Tensor], shape: Sequence[int]) -> None:
        """Apply orthogonalised updates. `shape`: of each whole matrix, of which a weight may be some rows."""
        rate, decay = self.own["lr"], self.own["weight_decay"]
        torch._foreach_mul_(weights, 1 - rate * decay)
        torch._foreach_add_(weights, list(updates), alpha=-rate * ADAM_RMS * math.sqrt(max(shape)))

    def _ahead(self, parameters: Sequence[nn.Parameter]) -> Sequence[Tensor]:
        """The Nesterov momentum of each gradient; of a sharded parameter, this rank's rows.

        All at once: on a GPU an operation for each of hundreds of matrices takes longer to start than to run.
        """
        if not parameters:
            return ()
        for parameter in parameters:
            if "exp_avg" not in self.state[parameter]:
                self.state[parameter]["exp_avg"] = torch.zeros_like(parameter)
        grads = [local(p.grad) for p in parameters if p.grad is not None]
        averages = [local(self.state[p]["exp_avg"]) for p in parameters]
        torch._foreach_lerp_(averages, grads, 1 - MOMENTUM)
        return torch._foreach_lerp(grads, averages, MOMENTUM)


def as_rows(values: Tensor, kernel: Tensor) -> Tensor:
    """`values` [O, I, ...] as [O, N], one row for each output channel, in the memory order of `kernel`.

    Of a channels-last kernel the result is then a view too, so that it can be updated in place.
    """
    return (values if kernel.is_contiguous() else values.movedim(1, -1)).reshape(len(values), -1)


def orthogonal(update_KMN: Tensor) -> Tensor:
    """K matrices [M, N], each replaced by about the nearest orthogonal one: its singular values become about 1.

    Newton-Schulz iteration, which needs no singular value decomposition; in bfloat16 where the device has that.
    """
    x = update_KMN.mT if update_KMN.shape[1] > update_KMN.shape[2] else update_KMN
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(fastest_dtype(x.device))
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if update_KMN.shape[1] > update_KMN.shape[2] else x).to(update_KMN.dtype)


def orthogonal_by_rank(updates: Sequence[Tensor], first: int) -> Sequence[Tensor]:
    """`orthogonal` of each [M, N] of the `updates`; with ranks, each computes some of them and gathers the others.

    The updates go round the ranks: number k is computed by rank (first + k) % ranks.
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


def orthogonal_of_shards(held: Sequence[Tensor], rows: int, count: int) -> list[Tensor]:
    """`orthogonal` of sharded matrices [rows, N], at most one for each rank; `held`: this rank's rows of each.

    Each holds `count` matrices, stacked along the rows. Matrix k is sent to rank k, which sends the result back.
    Returns this rank's rows of the results.
    """
    world, columns = distributed.get_world_size(), held[0].shape[1]
    chunk = -(-rows // world)
    sent = held[0].new_zeros(world, chunk, columns)
    for k, part in enumerate(held):
        sent[k, : len(part)] = part
    came = torch.empty_like(sent)
    distributed.all_to_all_single(came, sent)
    if distributed.get_rank() < len(held):
        whole = came.view(-1, columns)[:rows]  # chunks come in the order of ranks, and only the last ones are padded
        whole.copy_(orthogonal(torch.stack(whole.chunk(count))).flatten(0, 1))
    distributed.all_to_all_single(sent, came)
    return [sent[k, : len(part)] for k, part in enumerate(held)]


def _inside(modules: Mapping[str, nn.Module], name: str, parameter: nn.Parameter) -> bool:
    own = name.partition("/")[2]
    first = own.partition(".")[0]
    if not decays(modules, name) or any(word in first for word in ENDS) or own.startswith(INPUTS):
        return False
    return min(len(parameter), parameter[0].numel()) >= SMALLEST


def _parts(name: str) -> int:
    """How many matrices a parameter holds, by the name of its layer; of a LoRA `up` is split as the matrix would be."""
    layer, adapted, added = name.partition(INSIDE)
    if not adapted:
        layer = name.rpartition(".")[0]
    return 1 if added.endswith(DOWN) else PARTS.get(layer.rpartition(".")[2], 1)
