"""LoRA (arXiv 2106.09685): fine-tuning by trainable low-rank additions to frozen matrices.

A matrix or kernel W [O, I, ...] is used as W + up @ down, with down [R, I ...] drawn at random and up [O, R] zero, so
that training starts from the model as it was. The paper's alpha is R, i.e. the addition is not scaled. A packed matrix
(qkv) has one pair; as `up` has a row for each of its rows, the pair can be split where the matrix is.
Names in a saved state: MODULE/PATH.parametrizations.weight.original, ....0.up and ....0.down; without "PATH." where the
matrix is the module's own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pinxit.errors import UsageError
from pinxit.training.draws import torch_rng
from pinxit.training.optim import decays, trainable_parameters

ORIGINAL, UP, DOWN = ".original", ".0.up", ".0.down"
INSIDE = ".parametrizations."


class Addition(nn.Module):
    """The parametrization W -> W + up @ down."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        inputs = math.prod(weight.shape[1:])
        drawn = torch.rand(rank, inputs, generator=generator) * 2 - 1
        self.down = nn.Parameter((drawn / math.sqrt(inputs)).to(weight.device))
        self.up = nn.Parameter(torch.zeros(len(weight), rank, dtype=weight.dtype, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def adapt(modules: Mapping[str, nn.Module], rank: int, new: Collection[str] = ()) -> None:
    """Freeze the modules and give every matrix and kernel with more than `rank` rows and columns an addition.

    `new`: names, as `trainable_parameters` gives them, of weights that are random, in whole or in part: they are
    trained themselves. What is drawn for a weight depends on its name alone. Modules that have additions, of an earlier
    `fit` of the same task, stay as they are. Raises UsageError if no matrix is that large, or for additions of another
    rank.
    """
    ranks = {len(part.down) for module in modules.values() for part in module.modules() if isinstance(part, Addition)}
    if ranks:
        if ranks != {rank}:
            raise UsageError(f"plan.lora={rank}: the task has additions of rank {min(ranks)} already: build a new one.")
        return
    found = trainable_parameters(modules)
    chosen = check_rank(modules, rank, new)
    for name, parameter in found.items():
        parameter.requires_grad_(name in new)
    for name in chosen:
        module, _, path = name.partition("/")
        owner_path, _, leaf = path.rpartition(".")
        owner = modules[module].get_submodule(owner_path)
        addition = Addition(found[name], rank, torch_rng(0, f"lora {name}"))
        parametrize.register_parametrization(owner, leaf, addition, unsafe=True)


def check_rank(modules: Mapping[str, nn.Module], rank: int, new: Collection[str] = ()) -> list[str]:
    """The names of the weights that `adapt` would give an addition. Raises UsageError if there are none."""
    found = trainable_parameters(modules)
    large = [name for name, p in found.items() if decays(modules, name) and min(len(p), math.prod(p.shape[1:])) > rank]
    chosen = [name for name in large if name not in new]
    if large and not chosen:
        what = f"plan.lora={rank} adapts weights that are there, and every matrix is new, in whole or in part"
        raise UsageError(f"{what}: set plan.lora=0, which trains all weights.")
    if not chosen:
        raise UsageError(f"plan.lora={rank}: no matrix has more rows and columns than that: choose a smaller rank.")
    return chosen


def check_adapts(stage: str, rank: int, modules: Iterable[str], brought: Iterable[str] | None) -> None:
    """Raise UsageError where a new stage's additions of `rank` (0: none) would adapt randomly initialised weights.

    `modules`: names of what the stage trains; `brought`: names of those that have initial weights; None: there are none
    for any stage.
    """
    lacking = [name for name in modules if name not in (brought or ())] if rank else []
    if lacking and brought is None:
        raise UsageError(f"{stage}: plan.lora={rank} adapts weights that are there: name some by --init-from.")
    if lacking:
        what = f"plan.lora={rank} adapts weights that are there, and --init-from brings none of {', '.join(lacking)}"
        raise UsageError(f"{stage}: {what}: set its plan.lora=0, which trains all weights.")


def merged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A module's state dict without parametrizations: the usual names, with the additions merged into the weights."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not _adapted(name):
            found[name] = tensor
        elif name.endswith(ORIGINAL):
            base = name.removesuffix(ORIGINAL)
            added = (state[base + UP] @ state[base + DOWN]).view_as(tensor)
            found[_usual(base)] = tensor + added
    return found


def additions(state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """(down [R, I ...], up [O, R]) of each weight that has an addition, by the weight's usual name."""
    found = {}
    for name, tensor in state.items():
        if _adapted(name) and name.endswith(ORIGINAL):
            base = name.removesuffix(ORIGINAL)
            down = state[base + DOWN]
            found[_usual(base)] = down.view(len(down), *tensor.shape[1:]), state[base + UP]
    return found


def _adapted(name: str) -> bool:
    """Whether a tensor belongs to a weight that has an addition."""
    return INSIDE in f".{name}"  # a weight of the root module has no path, and so no dot, before it


def _usual(base: str) -> str:
    """The usual name of the weight whose tensors are called `base`.original, `base`.0.up and `base`.0.down."""
    return f".{base}".replace(INSIDE, ".").removeprefix(".")
