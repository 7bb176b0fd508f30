"""Counts the bytes that a forward pass keeps for the backward pass: activations, and not the weights."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pinxit.training.flop_counter import DEVICE


class ActivationCounter(TorchDispatchMode):
    """A context manager that counts what is kept for a backward pass inside it, until `bytes` is read.

    Left out are `weights` and what is made of them alone, as their copies in bfloat16 or what a LoRA adds to them: that
    does not grow with the number of pictures. `outside`: other tensors that are not counted.
    """

    def __init__(self, weights: Iterable[Tensor], outside: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights, self._outside = {storage_key(one) for one in weights}, {storage_key(one) for one in outside}
        self._made = set(self._weights)  # of weights alone
        self._sizes: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """The bytes of all storages that were kept."""
        return sum(size for place, size in self._sizes.items() if place not in self._outside)

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        self._hooks.__exit__(kind, error, trace)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is DEVICE and isinstance(args[0], FakeTensor):
            return args[0].fake_device
        result = func(*args, **(kwargs or {}))
        given = [storage_key(one) for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        alone = bool(given) and self._made.issuperset(given)
        for one in (storage_key(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)):
            if alone:
                self._made.add(one)
            elif one not in self._weights:  # memory that was a weight's copy may be used again
                self._made.discard(one)
        return result

    def _note(self, tensor: Tensor) -> Tensor:
        if storage_key(tensor) not in self._made:
            self._sizes[storage_key(tensor)] = tensor.untyped_storage().nbytes()
        return tensor


def storage_key(tensor: Tensor) -> int:
    """A number that tensors of the same storage share."""
    number: int = tensor.untyped_storage()._cdata
    return number
