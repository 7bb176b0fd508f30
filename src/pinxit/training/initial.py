"""Initial weights of sharded models: a network is built without its whole weights ever being in memory.

A constructor draws all weights from one generator, one tensor after the other. Inside `in_shards`, every large
parameter becomes an `OwnRows` when it is registered: each rank draws the whole tensor, keeps its own rows and frees the
rest. So the ranks together begin with the weights that one process begins with, bit for bit, while each holds no more
than its shard and one whole tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from pinxit.training.draws import seeded
from pinxit.training.local import span_of
from pinxit.training.parallel import Ranks
from pinxit.training.precision import freed_at_once

M = TypeVar("M", bound=nn.Module)

SMALL = 2**14  # numbers of a parameter that is kept whole until FSDP2 shards it

aten: Any = torch.ops.aten
SAME = (aten.detach, aten.alias)
DRAWN = (aten.normal_, aten.uniform_)  # random in-place operations: the whole tensor must be drawn
ROWWISE = (aten.zero_, aten.fill_, aten.mul_, aten.add_, aten.clamp_, aten.erfinv_)  # with numbers, not tensors

_ranks: ContextVar[Ranks | None] = ContextVar("ranks", default=None)


class NotByRowsError(Exception):
    """An initialisation needs a whole tensor of which only some rows are kept."""


class OwnRows(Tensor):
    """A tensor of which this rank keeps only its rows, `held`; in-place initialisation and `copy_` work as usual."""

    held: Tensor
    span: tuple[int, int]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, shape: torch.Size, held: Tensor, span: tuple[int, int]) -> OwnRows:
        make: Any = Tensor._make_wrapper_subclass
        made: OwnRows = make(cls, shape, dtype=held.dtype, device=held.device)
        made.held, made.span = held, span
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OwnRows({list(self.shape)}, rows {self.span[0]} to {self.span[1]})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        tensor, rest, named = args[0], args[1:], kwargs or {}
        operation = func.overloadpacket
        if not isinstance(tensor, OwnRows):
            raise NotByRowsError(str(func))
        if operation in SAME:
            return OwnRows(tensor.shape, tensor.held, tensor.span)
        if operation in DRAWN:
            whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
            func(whole, *rest, **named)
            tensor.held.copy_(whole[slice(*tensor.span)])
        elif operation in ROWWISE and not any(isinstance(one, Tensor) and one.ndim for one in rest):
            func(tensor.held, *rest, **named)
        elif operation is aten.copy_ and rest[0].shape == tensor.shape:
            source = rest[0]
            tensor.held.copy_(source.held if isinstance(source, OwnRows) else source[slice(*tensor.span)])
        elif not (operation is aten.set_ and isinstance(rest[0], OwnRows) and rest[0].held is tensor.held):
            raise NotByRowsError(str(func))
        return tensor


def network(build: Callable[[], M], seed: int, purpose: str) -> M:
    """A network to be trained, built with torch's generator seeded for it (`seeded`); see `in_shards`.

    Once a module has been given a parameter, `build` must get it from there: a variable would still hold the whole.
    """
    ranks = _ranks.get()
    if ranks is None:
        return seeded(build, seed, purpose)
    keep: Any = partial(_registered, ranks)  # of whose result torch's types know nothing
    hook = register_module_parameter_registration_hook(keep)
    try:
        return seeded(build, seed, purpose)
    except NotByRowsError:
        pass  # build it whole: that costs memory, but no weight differs
    finally:
        hook.remove()
    return seeded(build, seed, purpose)


@contextmanager
def in_shards(ranks: Ranks, wanted: bool = True) -> Iterator[None]:
    """Inside the block `network` keeps only this rank's rows, if `wanted` and there are several ranks.

    The networks can then be used by `fit` alone, with a plan that shards, on as many ranks.
    """
    if not (wanted and ranks.world > 1):
        yield
        return
    token = _ranks.set(ranks)
    try:
        with freed_at_once():
            yield
    finally:
        _ranks.reset(token)


def own_rows(value: Tensor) -> Tensor:
    """A copy of a parameter of `network`; where this rank keeps only its own rows, the others are zeros."""
    if not isinstance(value, OwnRows):
        return value.detach().clone()
    whole = torch.zeros(value.shape, dtype=value.dtype, device=value.device)
    whole[slice(*value.span)] = value.held
    return whole


def _registered(ranks: Ranks, module: nn.Module, name: str, value: nn.Parameter | None) -> nn.Parameter | None:
    """The parameter that a module is given instead of `value`; None for `value` itself."""
    if value is None or isinstance(value, OwnRows) or value.ndim < 2 or value.numel() < SMALL:
        return None
    span = span_of(len(value), ranks.rank, ranks.world)
    held = value.detach()[slice(*span)].clone()
    return nn.Parameter(OwnRows(value.shape, held, span), value.requires_grad)
