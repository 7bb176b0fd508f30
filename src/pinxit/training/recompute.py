"""Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): blocks run again in the backward pass, to save memory.

Only the inputs of each block are kept; what is inside is recomputed, for one block at a time. Both runs of a block have
the same weights, random numbers and precision, so that gradients are the same, bit for bit.
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

from pinxit.training.activation_counter import ActivationCounter
from pinxit.training.blocks import blocks_of
from pinxit.training.optim import buffers_restored

Given = tuple[tuple[Any, ...], dict[str, Any]]  # args and kwargs of a block's call
Contexts = tuple[AbstractContextManager[object], AbstractContextManager[object]]  # of the forward pass, of the second


def recompute(modules: Mapping[str, nn.Module]) -> None:
    """Checkpoint every block of the modules, in place: in training it keeps nothing but its inputs."""
    for module in modules.values():
        for block in blocks_of(module, _composite):
            has_buffers = next(block.buffers(), None) is not None
            block.forward = partial(_checkpoint_with_buffers if has_buffers else _checkpoint, block)


@contextmanager
def record_calls(modules: Mapping[str, nn.Module]) -> Iterator[dict[nn.Module, Given]]:
    """Record the arguments of the first call of each checkpointed block, inside the context."""
    found: dict[nn.Module, Given] = {}

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.setdefault(block, (args, kwargs))

    blocks = [part for module in modules.values() for part in module.modules() if _is_checkpointed(part)]
    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def bytes_inside(block: nn.Module, given: Given) -> int:
    """Bytes that one call of a checkpointed block keeps while it is recomputed, besides its weights and inputs."""
    kept = ActivationCounter(
        (*block.parameters(), *block.buffers()), (one for one in tree_leaves(given) if isinstance(one, Tensor))
    )
    gpus = [p.device for p in block.parameters() if p.device.type == "cuda"][:1]
    checkpointed, block.forward = block.forward, MethodType(type(block).forward, block)
    try:
        with torch.random.fork_rng(gpus), kept:
            block(*given[0], **given[1])
    finally:
        block.forward = checkpointed
    return kept.bytes


def _composite(module: nn.Module) -> bool:
    """Whether it has parts. Of a single layer nothing is worth recomputing: its input is all that it keeps."""
    return any(True for _ in module.children())


def _is_checkpointed(module: nn.Module) -> bool:
    forward = module.__dict__.get("forward")
    return isinstance(forward, partial) and forward.func in (_checkpoint, _checkpoint_with_buffers)


def _checkpoint(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return type(block).forward(block, *args, **kwargs)
    return checkpoint(type(block).forward, block, *args, use_reentrant=False, **kwargs)


def _checkpoint_with_buffers(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """For a block with running means: the second run must not update them again."""
    if not torch.is_grad_enabled():
        return type(block).forward(block, *args, **kwargs)
    contexts = partial(_contexts, block)  # only here, because torch.compile does not support context_fn
    return checkpoint(type(block).forward, block, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(block: nn.Module) -> Contexts:
    return nullcontext(), buffers_restored({"": block})
