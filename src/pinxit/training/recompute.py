"""Activations of blocks made a second time in the backward pass instead of kept (Chen et al. 2016, arXiv 1604.06174).

Of each block what it is given is kept, and of one at a time what is inside. A block is called with the same weights,
random numbers and precision both times, so that results are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from pinxit.training.blocks import blocks_of

Given = tuple[tuple[Any, ...], dict[str, Any]]  # what a block is called with
Contexts = tuple[AbstractContextManager[object], AbstractContextManager[object]]  # of a first call, of a second


def recompute(modules: Mapping[str, nn.Module]) -> None:
    """Have every block of the modules keep, while they train, nothing but what it is given."""
    for module in modules.values():
        for block in blocks_of(module, _composite):
            follows = next(block.buffers(), None) is not None
            block.forward = partial(_follows_once if follows else _twice, block)


@contextmanager
def calls_noted(modules: Mapping[str, nn.Module]) -> Iterator[dict[nn.Module, Given]]:
    """Inside, what each block that is made again is first called with."""
    found: dict[nn.Module, Given] = {}

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.setdefault(block, (args, kwargs))

    again = [part for module in modules.values() for part in module.modules() if _made_again(part)]
    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in again]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def bytes_inside(block: nn.Module, given: Given) -> int:
    """What one call keeps for its backward pass while it is made again, besides weights and what it is given."""
    there = (*tree_leaves(given), *block.parameters(), *block.buffers())
    outside = {_place(tensor) for tensor in there if isinstance(tensor, Tensor)}
    gpus = [p.device for p in block.parameters() if p.device.type == "cuda"][:1]
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[_place(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    again, block.forward = block.forward, MethodType(type(block).forward, block)
    try:
        with torch.random.fork_rng(gpus), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            block(*given[0], **given[1])
    finally:
        block.forward = again
    return sum(count for place, count in kept.items() if place not in outside)


def _composite(module: nn.Module) -> bool:
    """Whether more goes on inside than a single operation, whose result would be kept anyway."""
    return any(True for _ in module.children())


def _made_again(module: nn.Module) -> bool:
    return isinstance(about := module.__dict__.get("forward"), partial) and about.func in (_twice, _follows_once)


def _twice(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return type(block).forward(block, *args, **kwargs)
    return checkpoint(type(block).forward, block, *args, use_reentrant=False, **kwargs)


def _follows_once(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Of a block with running means, which have taken in what is seen the second time already."""
    if not torch.is_grad_enabled():
        return type(block).forward(block, *args, **kwargs)
    contexts = partial(_contexts, block)  # that a compiler does not know
    return checkpoint(type(block).forward, block, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(block: nn.Module) -> Contexts:
    return nullcontext(), _unmoved(block)


@contextmanager
def _unmoved(block: nn.Module) -> Iterator[None]:
    buffers = list(block.buffers())
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.data.copy_(value)  # not counted as a change, of what a backward pass may have kept


def _place(tensor: Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata
    return place
