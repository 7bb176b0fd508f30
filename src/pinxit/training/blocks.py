"""Which parts of a network are its blocks: what holds most of its weights and activations and is called as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import nn

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


def blocks_of(module: nn.Module, worth: Callable[[nn.Module], bool]) -> Iterator[nn.Module]:
    """The outermost parts, of those that are called as a whole, for which `worth` holds.

    Called as a whole are items of lists, and the parts of a module that has no `forward` of its own (a U-Net's level).
    """
    listed = isinstance(module, nn.Sequential) or not _computes(module)
    for child in module.children():
        if listed and _computes(child) and not isinstance(child, CONTAINERS) and worth(child):
            yield child
        else:
            yield from blocks_of(child, worth)


def _computes(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward
