"""A tower compiled by OpenVINO, where that is installed: on CPUs faster than anything PyTorch offers here.

`pip install "pinxit[openvino]"`; the figures are in benchmarks/clip.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pinxit.errors import UsageError

Engine = Literal["auto", "torch", "openvino"]
Precision = Literal["fp32", "bf16"]
HINTS = {"fp32": "f32", "bf16": "bf16"}


def pick_engine(wanted: Engine, device: torch.device) -> Engine:
    """ "torch" or "openvino". Raises UsageError for one that cannot serve.

    "auto" is openvino on a CPU where it is installed.
    """
    there = find_spec("openvino") is not None
    if wanted == "auto":
        return "openvino" if there and device.type == "cpu" else "torch"
    if wanted == "openvino" and not there:
        raise UsageError('the engine openvino is not installed: pip install "pinxit[openvino]".')
    if wanted == "openvino" and device.type != "cpu":
        raise UsageError(f"the engine openvino works on the CPU, not on {device}.")
    if wanted not in ("torch", "openvino"):
        raise UsageError(f"there is no engine '{wanted}'; choose from auto, torch, openvino.")
    return wanted


def compiled(encode: Callable[[Tensor], Tensor], owner: nn.Module, example: Tensor, precision: Precision) -> Any:
    """`encode`, a method of `owner`, for rows of exactly `example`'s shape; results are float32."""
    import openvino

    tower = _Tower(encode, owner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about shapes that are fixed here
        converted = openvino.convert_model(
            tower, example_input=example, input=[openvino.PartialShape(list(example.shape))]
        )
    hints = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    run = openvino.Core().compile_model(converted, "CPU", {**hints, "PERFORMANCE_HINT": "LATENCY"})
    return lambda rows: torch.from_numpy(run([rows.numpy()])[0].copy())


class _Tower(nn.Module):
    """One method of a model as a module of its own: what a converter takes."""

    def __init__(self, encode: Callable[[Tensor], Tensor], owner: nn.Module) -> None:
        super().__init__()
        self.encode, self.owner = encode, owner

    def forward(self, rows: Tensor) -> Tensor:
        return self.encode(rows)
