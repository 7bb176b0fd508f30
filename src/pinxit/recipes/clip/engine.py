"""A tower compiled by OpenVINO, where that is installed: on CPUs faster than anything PyTorch offers here.

Needs the extra openvino; benchmarks/clip.py measures it.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal
from weakref import WeakSet

import torch
from torch import Tensor, nn

from pinxit.errors import UsageError, install
from pinxit.models.method import MethodModule

Engine = Literal["auto", "torch", "openvino"]
Precision = Literal["fp32", "bf16"]
HINTS = {"fp32": "f32", "bf16": "bf16"}
_open: WeakSet[Callable[[Tensor], Tensor]] = WeakSet()  # compiled towers
_of_parents: list[Callable[[Tensor], Tensor]] = []  # those that were open when this process was forked
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _of_parents.extend(_open))
PIECE = {"fp32": 8, "bf16": 16}  # rows that one core takes at a time where there are more


def pick_engine(requested: Engine, device: torch.device) -> Engine:
    """ "torch" or "openvino"; "auto" is openvino on a CPU if it is installed.

    Raises UsageError for an engine that is unknown, not installed, or not for this device.
    """
    installed = find_spec("openvino") is not None
    if requested == "auto":
        return "openvino" if installed and device.type == "cpu" else "torch"
    if requested == "openvino" and not installed:
        raise UsageError(f"the engine openvino is not installed: {install('openvino')}.")
    if requested == "openvino" and device.type != "cpu":
        raise UsageError(f"the engine openvino works on the CPU, not on {device}.")
    if requested not in ("torch", "openvino"):
        raise UsageError(f"there is no engine '{requested}'; choose from auto, torch, openvino.")
    return requested


def load_openvino() -> Any:
    """OpenVINO without the package that reports every conversion to its makers, unasked, each by a forked process.

    OpenVINO does without it where it cannot be imported. Whoever has imported either before keeps what they have.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def core() -> Any:
    """OpenVINO's devices, opened once a process and never closed.

    A forked process has none of its parent's threads: what it has of the parent would wait for them for ever, when it
    is used and when it is closed. Each `Core` gives its thread a stack for signal handlers and takes it away in the
    end. Of several, the last to end puts back one that is gone, and the next Ctrl-C ends the process by a segmentation
    fault (OpenVINO 2026.4).
    """
    return _core_of(os.getpid())


@cache
def _core_of(_process: int) -> Any:
    return load_openvino().Core()


def compiled(encode: Callable[[Tensor], Tensor], owner: nn.Module, example: Tensor, precision: Precision) -> Any:
    """`encode`, a method of `owner`, compiled for batches of exactly `example`'s shape; results are float32.

    A large batch is divided among as many streams as there are cores, which do not synchronise at every layer.
    """
    openvino = load_openvino()
    threads, rows = torch.get_num_threads(), PIECE[precision]
    divided = len(example) > rows and len(example) % rows == 0
    piece = example[:rows] if divided else example
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns that shapes become constants, which is intended
        shape = [openvino.PartialShape(list(piece.shape))]
        converted = openvino.convert_model(MethodModule(encode, owner), example_input=piece, input=shape)
    hints = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads}
    streams = {"NUM_STREAMS": threads} if divided else {"PERFORMANCE_HINT": "LATENCY"}
    run = core().compile_model(converted, "CPU", hints | streams)
    if not divided:
        return _noted(lambda rows: torch.from_numpy(run([rows.numpy()])[0].copy()))
    queue = openvino.AsyncInferQueue(run, threads)
    return _noted(lambda batch: torch.cat(_in_pieces(queue, batch.numpy().reshape(-1, *piece.shape))))


def _noted(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`run`, which a forked process will never close."""
    _open.add(run)
    return run


def _in_pieces(queue: Any, pieces: Any) -> list[Tensor]:
    """Every piece through one of the queue's streams, the results in the order of the pieces."""
    encoded: list[Tensor] = [torch.empty(0)] * len(pieces)

    def keep(request: Any, place: int) -> None:
        encoded[place] = torch.from_numpy(request.get_output_tensor(0).data.copy())

    queue.set_callback(keep)
    for place, piece in enumerate(pieces):
        queue.start_async([piece], place)
    queue.wait_all()
    return encoded
