"""A function recorded once, so that no Python runs between its operations: CUDA graphs and TorchScript traces."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import copy
from functools import cache

import torch
from torch import Tensor

Work = Callable[[Tensor, Tensor], Tensor]


class CudaGraphFunction:
    """A function of static shapes as one CUDA graph, captured at its first call, so that later ones launch no kernels.

    The first call runs the function twice to warm up: running it again on the same inputs must be harmless.
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


class TracedFunction:
    """A function on a CPU traced by TorchScript, whose interpreter does not hold the GIL: threads run in parallel.

    The trace takes inputs of other sizes as long as the function asks for sizes by `shape`, which is traced, and not by
    `len`, which becomes a constant. `held` lists the tensors besides its inputs that it writes to, or that differ from
    call to call or from one decoder to another; the trace takes all others for constants. Tracing runs it once.
    """

    def __init__(self, work: Work, held: Callable[[], Sequence[Tensor]], *inputs: Tensor) -> None:
        def named(kept: list[Tensor], *inputs: Tensor) -> Tensor:
            return work(*inputs)  # reaches the tensors of `kept` by itself; the tracer sees that they are arguments

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch.jit's successors need a compiler
            call = torch.jit.trace(  # type: ignore[no-untyped-call]
                named, (list(held()), *inputs), check_trace=False
            )
        self.call = call if isinstance(call, torch.jit.ScriptFunction) else None  # PYTORCH_JIT=0 traces nothing
        self.work, self.held = work, held

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self.call is None:
            return self.work(*inputs)
        result: Tensor = self.call(list(self.held()), *inputs)
        return result

    def beside(self, work: Work, held: Callable[[], Sequence[Tensor]]) -> TracedFunction:
        """The same trace for another decoder, with its own tensors in place of `held`."""
        other = copy(self)
        other.work, other.held = work, held
        return other


@cache
def packed_products() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """oneDNN's x W^T + b over packed weights, and the same with GELU after it, in a form that can be traced.

    The operation takes a list of optional numbers, which tracing cannot record but TorchScript source can express.
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
