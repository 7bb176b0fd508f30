"""A function of tensors recorded once, so that no Python runs between its operations: on a GPU and on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import copy
from functools import cache

import torch
from torch import Tensor

Work = Callable[[Tensor, Tensor], Tensor]


class Recorded:
    """A function of static shapes as one CUDA graph, recorded at its first call: no launch costs after that.

    That call runs it twice more on the same inputs, which must change nothing.
    """

    def __init__(self, work: Work) -> None:
        self.work, self.graph = work, torch.cuda.CUDAGraph()
        self.inputs: list[Tensor] = []

    def __call__(self, *inputs: Tensor) -> Tensor:
        if not self.inputs:
            self.inputs = [one.clone() for one in inputs]
            self._record()
        for kept, new in zip(self.inputs, inputs, strict=True):
            kept.copy_(new)
        self.graph.replay()
        return self.output

    def _record(self) -> None:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.work(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # other threads may pin memory meanwhile
            self.output = self.work(*self.inputs)


class Traced:
    """A function on a CPU as one call of torch's interpreter, which holds no lock of Python's: threads do not wait.

    The function takes any sizes where it asks for them by `shape`, which is recorded, and not by `len`, which is not.
    `held` lists the tensors besides its inputs that it writes to, or that are others for another machine or at another
    call; all others are constants. Recording runs it once.
    """

    def __init__(self, work: Work, held: Callable[[], Sequence[Tensor]], *inputs: Tensor) -> None:
        def named(kept: list[Tensor], *inputs: Tensor) -> Tensor:
            return work(*inputs)  # knows those that are kept, too: what it records are their names

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)  # what follows torch.jit needs a compiler
            call = torch.jit.trace(  # type: ignore[no-untyped-call]
                named, (list(held()), *inputs), check_trace=False
            )
        self.call = call if isinstance(call, torch.jit.ScriptFunction) else None  # as it came where PYTORCH_JIT is 0
        self.work, self.held = work, held

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self.call is None:
            return self.work(*inputs)
        result: Tensor = self.call(list(self.held()), *inputs)
        return result

    def beside(self, work: Work, held: Callable[[], Sequence[Tensor]]) -> Traced:
        """The same function of another machine, with tensors of its own in place of those that are held."""
        other = copy(self)
        other.work, other.held = work, held
        return other


@cache
def packed_products() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """oneDNN's product over packed weights, x W^T + b, and the same with GELU after it, as a trace can record them.

    A tracer knows no lists of optional numbers, which the operation takes, and the interpreter's own language does.
    """
    source = """
def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    none: List[Optional[number]] = []
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", none, "")

def gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    none: List[Optional[number]] = []
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", none, "none")
"""
    both = torch.jit.CompilationUnit(source)
    return both.plain, both.gelu
