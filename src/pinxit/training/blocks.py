"""Finds a network's blocks (residual blocks, transformer layers), the units of FSDP and activation checkpointing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import nn

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


def blocks_of(module: nn.Module, worth: Callable[[nn.Module], bool]) -> Iterator[nn.Module]:
    """The outermost modules that are called as one and for which `worth` holds.

    Called as one are the items of a list or Sequential, and the children of a module that has no `forward` of its own
    (a level of a U-Net). Other children may be used in other ways than by a call, so they are searched, not wrapped.
    """
    listed = isinstance(module, nn.Sequential) or not _computes(module)
    for child in module.children():
        if listed and _computes(child) and not isinstance(child, CONTAINERS) and worth(child):
            yield child
        else:
            yield from blocks_of(child, worth)


def _computes(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward
