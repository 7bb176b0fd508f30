"""Networks as ONNX files: written by torch's exporter, and compared with the network by ONNX Runtime.

Needs the extra onnx. The number of rows is dynamic, and so are other axes that a `Network` names.
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

from pinxit.errors import PinxitError, UsageError, install
from pinxit.models.method import MethodModule

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # the largest absolute difference, of outputs of a magnitude of about one
LARGE = 3 * 2**29  # bytes of weights beyond which they get a file of their own: a single file ends at 2 GiB
EXPORTED, CHECKED = 3, (1, 5)  # numbers of rows: of the example for export, and of the comparisons
MOST = {"length": 1024}  # tokens. Without an end torch finds one, where attention takes another way, and traces again


@dataclass(frozen=True)
class Network:
    """A network to be written as NAME.onnx."""

    name: str
    call: Callable[..., Any]  # float32 tensors in the order of `inputs` to one tensor, or to a tuple of them
    owner: nn.Module  # whose weights it uses
    draw: Callable[[int], Mapping[str, Tensor]]  # random inputs for so many rows, different in every call
    outputs: tuple[str, ...]
    free: Mapping[str, Mapping[int, str]]  # for each input its dynamic axes besides rows, with their names
    about: Mapping[str, Any]  # goes into the description beside the file


@dataclass(frozen=True)
class WrittenNetwork:
    """A file that was written, and how closely it agrees with its network."""

    file: str
    inputs: Mapping[str, list[int | str]]  # their shapes, with names for dynamic axes
    outputs: tuple[str, ...]
    difference: float  # the largest absolute one between the outputs of ONNX Runtime and of the network
    about: Mapping[str, Any]


def check_installed() -> None:
    """Raise UsageError if packages that write and check ONNX are not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"--to onnx needs {', '.join(missing)}: {install('onnx')}.")


@torch.inference_mode()
def write_onnx(network: Network, folder: Path) -> WrittenNetwork:
    """Write `network` into `folder` and compare ONNX Runtime's outputs with its own.

    Raises PinxitError for operations that ONNX does not have, and when outputs differ by more than TOLERANCE.
    """
    path = folder / f"{network.name}.onnx"
    module = MethodModule(network.call, network.owner).eval()
    _export(module, network, path)
    difference = max(_differences(module, network, path))
    if not difference <= TOLERANCE:
        reason = f"ONNX Runtime answers {difference:.2g} away from the network, and {TOLERANCE:.0e} is allowed"
        raise PinxitError(f"{path.name}: {reason}; nothing is written.")
    shapes = {name: _shape(network, name, tensor) for name, tensor in network.draw(1).items()}
    return WrittenNetwork(path.name, shapes, network.outputs, difference, network.about)


def _shape(network: Network, name: str, tensor: Tensor) -> list[int | str]:
    free = {0: "batch"} | dict(network.free.get(name, {}))
    return [free.get(axis, size) for axis, size in enumerate(tensor.shape)]


def _export(module: nn.Module, network: Network, path: Path) -> None:
    inputs = network.draw(EXPORTED)
    names = {"batch", *(name for free in network.free.values() for name in free.values())}
    dims = {name: torch.export.Dim(name, max=MOST.get(name)) for name in names}
    shapes = tuple(
        {axis: dims[size] for axis, size in enumerate(_shape(network, name, tensor)) if isinstance(size, str)}
        for name, tensor in inputs.items()
    )
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    large = sum(weight.nbytes for weight in network.owner.state_dict().values()) > LARGE
    try:
        with _quiet(), _without_places():
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(network.outputs),
                dynamic_shapes={"inputs": shapes},  # as `MethodModule.forward` calls them
                custom_translation_table={torch.ops.aten.atan.default: _atan},
                verbose=False,
            )
            assert program is not None
            ClearMetadataAndDocStringPass()(program.model)  # it holds this machine's paths to the source code
            program.save(path, external_data=large)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise PinxitError(f"{network.name} cannot be written as ONNX ({_first_line(error)}).") from error


def _first_line(error: BaseException) -> str:
    """The first line of an error's root cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _atan(x: Any) -> Any:
    """atan in float32: ONNX Runtime has none for float64, in which noise levels are converted to times."""
    from onnxscript import opset18 as op

    single, double = 1, 11  # onnx.TensorProto.FLOAT and DOUBLE
    return op.Cast(op.Atan(op.Cast(x, to=single)), to=double)


def _differences(module: nn.Module, network: Network, path: Path) -> Iterator[float]:
    """The largest absolute difference for each number of rows and each output."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base class
        raise PinxitError(f"{path.name}: ONNX Runtime does not open it ({_first_line(error)}).") from error
    for rows in CHECKED:
        inputs = network.draw(rows)
        answer = module(*inputs.values())
        outputs = session.run(list(network.outputs), {name: tensor.numpy() for name, tensor in inputs.items()})
        for one, other in zip(outputs, answer if isinstance(answer, tuple) else (answer,), strict=True):
            yield float(np.abs(one - other.numpy()).max())


@contextmanager
def _without_places() -> Iterator[None]:
    """Do not look up for every operation where in the source code it stands, which takes an eighth of an export."""
    import torch.fx

    config, name = getattr(torch.fx, "config", None), "do_not_emit_stack_traces"
    if not hasattr(config, name):  # older versions of torch do not ask
        yield
        return
    before = getattr(config, name)
    setattr(config, name, True)
    try:
        yield
    finally:
        setattr(config, name, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings about torchvision's operators and its own deprecated functions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
