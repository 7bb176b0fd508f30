"""The optimiser, its learning rate, and the running average of the weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pinxit.training.local import is_sharded, local
from pinxit.training.plan import Plan

TABLES = ("embed", "position")  # embedding tables: words that their names contain
TABLE_NAMES = ("tokens", "places")  # embedding tables: whole names


def trainable_parameters(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Every parameter that takes gradients, by "module/name"; a shared one appears once."""
    parameters: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, module in modules.items():
        for path, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                parameters[f"{name}/{path}"] = parameter
    return parameters


def decays(modules: Mapping[str, nn.Module], name: str) -> bool:
    """Whether weight decay applies: to matrices and kernels, not to gains, biases, scales and embedding tables."""
    module_name, _, path = name.partition("/")
    owner_path, _, leaf = path.rpartition(".")
    owner = modules[module_name].get_submodule(owner_path)
    above = owner_path.rpartition(".")[2] if leaf != "weight" else ""  # parameters of a module `embed` are tables
    named = leaf in TABLE_NAMES or any(word in name for name in (leaf, above) for word in TABLES)
    table = isinstance(owner, nn.Embedding) or named
    return getattr(owner, leaf).ndim >= 2 and not table


def adamw(modules: Mapping[str, nn.Module], plan: Plan, without: frozenset[str] = frozenset()) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter 2019) for all trainable parameters except those named in `without`."""
    groups: defaultdict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in trainable_parameters(modules).items():
        if name not in without:
            # Sharded and other parameters apart: a fused kernel does not take both.
            groups[not decays(modules, name), is_sharded(parameter)].append(parameter)
    decayed = [{"params": groups[k], "weight_decay": 0.0 if k[0] else plan.decay} for k in sorted(groups)]
    decayed = decayed or [{"params": []}]  # Muon may have them all
    betas = (plan.betas[0], plan.betas[1])
    return torch.optim.AdamW(decayed, lr=plan.lr, betas=betas, eps=plan.eps, fused=True)


def learning_rate(plan: Plan, images: int) -> float:
    """The learning rate of the update that starts after `images`: a linear warm-up, then `plan.schedule`."""
    if images < plan.warmup:
        return plan.lr * min(1.0, (images + plan.batch) / plan.warmup)
    past = min(1.0, (images - plan.warmup) / max(1, (plan.decay_horizon or plan.images) - plan.warmup))
    if plan.schedule == "constant":
        return plan.lr
    left = 0.5 * (1 + math.cos(math.pi * past)) if plan.schedule == "cosine" else 1 - past
    return plan.final_lr + (plan.lr - plan.final_lr) * left


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate


class Average:
    """An exponential moving average (EMA) of all trainable weights and floating-point buffers.

    Every `every` updates, shadow <- d * shadow + (1 - d) * weight with d = min(decay, (1 + n) / (10 + n)) at the
    n-th time, so that the initial weights do not dominate the average of a short run. Integer buffers are copied.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float, every: int = 1) -> None:
        self.modules = modules
        self.decay = decay
        self.every = every
        self.shadow = {name: tensor.clone() for name, tensor in trainable_weights(modules).items()} if decay else {}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Average in the current weights, of a run that has made `updates` updates."""
        if not self.decay or updates % self.every:
            return
        n = updates // self.every
        decay = min(self.decay, (1 + n) / (10 + n))
        now = trainable_weights(self.modules)
        names = [name for name, tensor in now.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([local(self.shadow[n]) for n in names], [local(now[n]) for n in names], 1 - decay)
        for name in now.keys() - names:
            self.shadow[name].copy_(now[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the modules are in eval mode and hold the averaged weights, if any are kept."""
        live = trainable_weights(self.modules)
        kept = {name: tensor.clone() for name, tensor in live.items()} if self.decay else {}
        modes = {name: module.training for name, module in self.modules.items()}
        _copy(self.shadow, live)
        for module in self.modules.values():
            module.eval()
        try:
            yield
        finally:
            _copy(kept, live)
            for name, module in self.modules.items():
                module.train(modes[name])


def weights(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Every parameter and persistent buffer by "module/name", detached; shared ones appear once."""
    tensors: dict[str, Tensor] = {}
    seen: set[tuple[Any, ...]] = set()
    for name, module in modules.items():
        for path, tensor in module.state_dict().items():
            held = local(tensor)
            place = (held.untyped_storage()._cdata, held.storage_offset(), tuple(held.shape))
            if held.numel() == 0 or place not in seen:
                seen.add(place)
                tensors[f"{name}/{path}"] = tensor.detach()
    return tensors


def trainable_weights(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """`weights` without the frozen parameters."""
    frozen = {
        f"{name}/{path}"
        for name, module in modules.items()
        for path, parameter in module.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }
    return {name: tensor for name, tensor in weights(modules).items() if name not in frozen}


@contextmanager
def buffers_restored(modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """Restore all buffers (running means, codebooks) after the block, as if its forward passes had not happened."""
    live = [buffer for module in modules.values() for buffer in module.buffers()]
    kept = [buffer.clone() for buffer in live]
    try:
        yield
    finally:
        for buffer, value in zip(live, kept, strict=True):
            buffer.data.copy_(value)  # by .data, as autograd would refuse a backward pass that has saved the buffer


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)
