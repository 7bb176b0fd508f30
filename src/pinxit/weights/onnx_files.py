"""Networks as ONNX files: written by torch's exporter, and compared with the network by ONNX Runtime.

`pip install "pinxit[onnx]"`. Rows stay free: a file takes any number of them, and so do other sizes that are named.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pinxit.errors import PinxitError, UsageError
from pinxit.models.method import Method

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # the largest difference of values whose own size is about one
LARGE = 3 * 2**29  # bytes of weights; files of one piece end at 2 GiB
EXPORTED, CHECKED = 3, (1, 5)  # rows


@dataclass(frozen=True)
class Network:
    """What becomes NAME.onnx."""

    name: str
    call: Callable[..., Any]  # float32 tensors in the order of `inputs` to one tensor, or to a tuple of them
    owner: nn.Module  # whose weights it uses
    draw: Callable[[int], Mapping[str, Tensor]]  # inputs for so many rows, drawn anew by every call
    outputs: tuple[str, ...]
    free: Mapping[str, Mapping[int, str]]  # besides rows, of an input the axes that may have any size, and their names
    about: Mapping[str, Any]  # what is told of it in a description


@dataclass(frozen=True)
class Written:
    """A file that says what the network says."""

    file: str
    inputs: Mapping[str, list[int | str]]  # their shapes; names stand for what is free
    outputs: tuple[str, ...]
    difference: float  # the largest, between ONNX Runtime and the network
    about: Mapping[str, Any]


def check_installed() -> None:
    """Raise UsageError, before anything is opened, where what writes and checks ONNX is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f'--to onnx needs {", ".join(missing)}: pip install "pinxit[onnx]".')


@torch.inference_mode()
def write_onnx(network: Network, folder: Path) -> Written:
    """Write `network` into `folder` and compare ONNX Runtime's answers with its own.

    Raises PinxitError for what ONNX cannot say, and when an answer is further than TOLERANCE from the network's.
    """
    path = folder / f"{network.name}.onnx"
    module = Method(network.call, network.owner).eval()
    _export(module, network, path)
    difference = max(_differences(module, network, path))
    if not difference <= TOLERANCE:
        told = f"ONNX Runtime answers {difference:.2g} away from the network, and {TOLERANCE:.0e} is allowed"
        raise PinxitError(f"{path.name}: {told}; nothing is written.")
    shapes = {name: _shape(network, name, tensor) for name, tensor in network.draw(1).items()}
    return Written(path.name, shapes, network.outputs, difference, network.about)


def _shape(network: Network, name: str, tensor: Tensor) -> list[int | str]:
    free = {0: "batch"} | dict(network.free.get(name, {}))
    return [free.get(axis, size) for axis, size in enumerate(tensor.shape)]


def _export(module: nn.Module, network: Network, path: Path) -> None:
    inputs = network.draw(EXPORTED)
    dims = {name: torch.export.Dim(name) for name in {"batch", *(n for f in network.free.values() for n in f.values())}}
    shapes = tuple(
        {axis: dims[size] for axis, size in enumerate(_shape(network, name, tensor)) if isinstance(size, str)}
        for name, tensor in inputs.items()
    )
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    large = sum(weight.nbytes for weight in network.owner.state_dict().values()) > LARGE
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(network.outputs),
                dynamic_shapes={"given": shapes},
                custom_translation_table={torch.ops.aten.atan.default: _atan},
                verbose=False,
            )
            assert program is not None
            ClearMetadataAndDocStringPass()(program.model)  # where on this machine each line of code stands
            program.save(path, external_data=large)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise PinxitError(f"{network.name} cannot be written as ONNX ({_first_line(error)}).") from error


def _first_line(error: BaseException) -> str:
    """Of what caused it in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _atan(x: Any) -> Any:
    """ONNX Runtime knows no atan of float64, in which levels of noise become times."""
    from onnxscript import opset18 as op

    single, double = 1, 11  # onnx.TensorProto.FLOAT and DOUBLE
    return op.Cast(op.Atan(op.Cast(x, to=single)), to=double)


def _differences(module: nn.Module, network: Network, path: Path) -> Iterator[float]:
    """The largest for each number of rows and each output."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have nothing in common
        raise PinxitError(f"{path.name}: ONNX Runtime does not open it ({_first_line(error)}).") from error
    for rows in CHECKED:
        inputs = network.draw(rows)
        answer = module(*inputs.values())
        found = session.run(list(network.outputs), {name: tensor.numpy() for name, tensor in inputs.items()})
        for one, other in zip(found, answer if isinstance(answer, tuple) else (answer,), strict=True):
            yield float(np.abs(one - other.numpy()).max())


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of torchvision's operators and of its own functions that will go."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
