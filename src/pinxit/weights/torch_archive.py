"""Tensors out of a file that `torch.save` or `torch.jit.save` wrote, whatever was pickled around them, without running
any of it.

A torch archive is a zip: `data.pkl` describes objects, `data/0`, `data/1`, ... hold the raw numbers. Here the
description is read with a closed list of harmless names: rebuilding a tensor from the archive's own storages,
ordered dictionaries, sets, and classes of known packages, which become empty stand-ins that only keep their
attributes. Any other name (`os.system`, `builtins.eval`, ...) ends the reading with a CheckpointError.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pinxit.errors import CheckpointError

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")


def read_torch_archive(path: Path, packages: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The state dict in `path`: of a pickled module, or a dictionary of tensors saved as it is.

    `packages` name whose classes may occur ("dall_e"); torch.nn's always may. No class of theirs is imported.
    Raises CheckpointError when the file is missing, truncated, no torch archive, or names anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tensors: dict[str, Tensor] = {}
            _collect(_Reader(archive, packages).load(), "", tensors)
    except (OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is not a readable torch archive: {error}.") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path} was refused: {error}") from error
    except Exception as error:  # a damaged pickle can fail in any way, all of them harmless
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}: {error}.") from error
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors.")
    return tensors


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, packages: tuple[str, ...]) -> None:
        names = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(names) != 1:
            raise CheckpointError("it has no single data.pkl.")
        self.archive = archive
        self.folder = names[0].removesuffix("data.pkl")
        numbers = (entry for entry in archive.infolist() if entry.filename.startswith(f"{self.folder}data"))
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in numbers):
            raise CheckpointError("its numbers are compressed, which torch.save never does.")
        self.packages = packages
        self.storages: dict[str, Tensor] = {}
        if self._member("byteorder", b"little") != b"little":
            raise CheckpointError("its numbers are big-endian.")
        super().__init__(archive.open(names[0]))

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("builtins", "__builtin__") and name == "set":
            return set
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")):
            # Fresh functions: what a hostile file might attach to them is gone with this reader.
            return _tensor_builder() if name == "_rebuild_tensor_v2" else _parameter_builder()
        package = module.split(".")[0]
        if (module, name) == ("torch", "device") or module.startswith("torch.nn.modules.") or package in self.packages:
            return type(name.rsplit(".", 1)[-1], (_StandIn,), {})
        raise CheckpointError(f"it asks for {module}.{name}, which weights do not need.")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _location, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise CheckpointError(f"it refers to an unknown object {kind!r}.")
        if key not in self.storages:
            data = self._member(f"data/{key}")
            if len(data) != count * dtype.itemsize:
                raise CheckpointError(f"storage {key} has {len(data)} bytes instead of {count * dtype.itemsize}.")
            self.storages[key] = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self.storages[key]

    def _member(self, name: str, default: bytes | None = None) -> bytes:
        try:
            return self.archive.read(self.folder + name)
        except KeyError:
            if default is None:
                raise CheckpointError(f"{name} is missing from it.") from None
            return default


class _StandIn:
    """Takes the place of any class: accepts every argument, keeps the state it is given, does nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass


def _tensor_builder() -> Any:
    def build(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any) -> Tensor:
        return storage.as_strided(size, stride, offset)

    return build


def _parameter_builder() -> Any:
    def build(data: Tensor, *_rest: Any) -> Tensor:
        return data

    return build


def _collect(node: Any, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Walk stand-ins of modules and plain dictionaries, naming tensors as `Module.state_dict` would."""
    if isinstance(node, Tensor):
        tensors[prefix] = node.clone()
        return
    children: dict[str, Any] = {}
    if isinstance(node, _StandIn):
        for part in _MODULE_PARTS:
            children.update(node.__dict__.get(part) or {})
        # The modules of TorchScript archives hold theirs directly.
        children |= {name: child for name, child in node.__dict__.items() if isinstance(child, Tensor | _StandIn)}
    elif isinstance(node, dict):
        children = node
    for name, child in children.items():
        _collect(child, f"{prefix}.{name}" if prefix else str(name), tensors)
