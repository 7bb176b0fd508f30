"""What is recorded once does the same at other sizes and over other tensors, without Python and without its lock."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pinxit.models.graph_capture import CudaGraphFunction, TracedFunction
from pinxit.models.linear import PackedLinear


def recorded(kept: list[Tensor]) -> TracedFunction:
    """Adds what is at two places to what is kept, in place, and gives as many rows of it as there are places."""

    def work(rows_R: Tensor, places_R: Tensor) -> Tensor:
        R, (store, table) = rows_R.shape[0], kept
        store.index_add_(0, places_R, table.index_select(0, rows_R))
        return store[:R].view(R, -1) * store.shape[0]

    return TracedFunction(work, lambda: kept, torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long))


def test_other_sizes_other_tensors_and_what_is_written() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a size that is recorded as a constant warns
        kept = [torch.zeros(4, 2), torch.arange(6.0).view(3, 2)]
        call = recorded(kept)
    kept[0].zero_()
    assert call(torch.tensor([2]), torch.tensor([1])).tolist() == [[0, 0]]
    assert kept[0].tolist() == [[0, 0], [4, 5], [0, 0], [0, 0]]
    kept[0] = torch.ones(2, 2)  # as many places as another machine has, from now on
    assert call(torch.tensor([1, 1]), torch.tensor([0, 1])).tolist() == [[6, 8], [6, 8]]
    others = [torch.zeros(4, 2), kept[1] + 1]
    beside = call.beside(lambda *_: torch.empty(0), lambda: others)
    assert beside(torch.tensor([0]), torch.tensor([0])).tolist() == [[4, 8]]
    assert kept[0].tolist() == [[3, 4], [3, 4]]


@contextmanager
def no_switching() -> Iterator[None]:
    """A thread keeps Python's lock until it gives it away."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(100)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


@pytest.mark.parametrize("traced", [False, True])
def test_threads_do_not_wait_for_it(traced: bool) -> None:
    """While it computes Python runs elsewhere, and none between its operations."""
    matrix = torch.eye(400)

    def work(one: Tensor, other: Tensor) -> Tensor:
        for _ in range(300):
            one = apply(one, matrix)
        return one + other

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight

    inputs = torch.ones(2, 400, 400).unbind()
    call = TracedFunction(work, lambda: [matrix], *inputs) if traced else work
    frames, turns, going = 0, 0, True

    def profile(*_: object) -> None:
        nonlocal frames
        frames += 1

    def elsewhere() -> None:
        nonlocal turns
        while going:
            turns += 1
            time.sleep(0)

    other = threading.Thread(target=elsewhere)
    with no_switching():
        other.start()
        before = turns
        sys.setprofile(profile)
        call(*inputs)
        sys.setprofile(None)
        during, going = turns - before, False
        other.join()
    assert during > 10
    assert (frames < 30) == traced


@pytest.mark.parametrize("gelu", [False, True])
def test_a_packed_product_is_the_same_recorded(gelu: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    weight, bias, x, more = (torch.randn(*shape, generator=draws) for shape in ((8, 6), (8,), (3, 6), (3, 8)))
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        pytest.skip("needs oneDNN")
    product = PackedLinear(weight, bias, torch.float32, gelu)
    call = TracedFunction(lambda x, more: product(x) + more, lambda: [product.weight], x, more)
    expected = torch.nn.functional.linear(x, weight, bias)
    expected = torch.nn.functional.gelu(expected) if gelu else expected
    torch.testing.assert_close(call(x, more), expected + more)
    torch.testing.assert_close(call(x[:1], more[:1]), (expected + more)[:1])


def test_a_graph_is_captured_once_and_replayed_with_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, by a graph that calls again what it has captured, as CUDA does, over the same tensors."""
    doing: list[str] = []
    captured: list[tuple[Tensor, ...]] = []

    class Graph:
        def replay(self) -> None:
            doing.append("replay")
            x, y = captured[-1]
            output.copy_(x * 2 + y)

    def work(x: Tensor, y: Tensor) -> Tensor:
        doing.append("work")
        captured.append((x, y))
        return output

    output = torch.zeros(2)
    nothing: Any = lambda *_, **__: nullcontext()  # noqa: E731
    stream: Any = SimpleNamespace(wait_stream=lambda other: None)
    for name, fake in {"CUDAGraph": Graph, "graph": nothing, "stream": nothing}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: stream)
    call, given, one = CudaGraphFunction(work), torch.tensor([1.0, 2.0]), torch.ones(2)
    assert call(given, one).tolist() == [3, 5] and doing == ["work"] * 3 + ["replay"]
    assert call(torch.tensor([5.0, 6.0]), one).tolist() == [11, 13] and doing[4:] == ["replay"]
    assert given.tolist() == [1, 2], "the first input is not the graph's own"
