"""Files of named tensors: safetensors, whole or in shards, and torch archives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pinxit.errors import CheckpointError, PinxitError
from pinxit.files import atomic_file
from pinxit.weights.json_files import shards
from pinxit.weights.torch_archive import read_torch_archive

_STEM = "diffusion_pytorch_model"
DIFFUSERS_FILES = tuple(f"{_STEM}{end}" for end in (".safetensors", ".safetensors.index.json", ".fp16.safetensors"))
"""The file names that a network's weights may have in a folder of diffusers."""
INDEX = ".index.json"  # of transformers' shards: which file holds which tensor


def read_tensors(path: Path, packages: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, of the shards that an index names, or of a torch archive.

    `packages`: see `read_torch_archive`. Raises CheckpointError when a file is missing, damaged or holds anything else.
    """
    if path.name.endswith(INDEX):
        return _merged((file, read_tensors(file, packages)) for file in shards(path))
    if path.suffix != ".safetensors":
        return read_torch_archive(path, packages)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}.") from error


def _merged(parts: Iterable[tuple[Path, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """The tensors of several files. Raises CheckpointError for one that is in two: which is meant, nobody can say."""
    found: dict[str, Tensor] = {}
    for path, tensors in parts:
        if twice := found.keys() & tensors.keys():
            raise CheckpointError(f"{path} has {some(sorted(twice))}, and so has a shard before it: fetch both again.")
        found |= tensors
    return found


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None, before: Path | None = None
) -> None:
    """Write a safetensors file with `notes` as its metadata; `before`: see `atomic_file`.

    Raises PinxitError when it cannot be written.
    """
    with atomic_file(path, before) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=None if notes is None else dict(notes))
        except SafetensorError as error:  # raised for a full disk, among others
            raise PinxitError(f"cannot write {path}: {error}.") from error


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor that holds a NaN or an infinity, or None."""
    floats = (name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel())
    return next((name for name in floats if not _bounded(tensors[name])), None)


def _bounded(tensor: Tensor) -> bool:
    """Whether no value is a NaN or an infinity: one pass without a mask, 20 times as fast as `isfinite().all()`."""
    wide = tensor.float() if tensor.element_size() == 1 else tensor  # torch cannot compare float8
    low, high = wide.aminmax()  # a single NaN makes both NaN
    return math.isfinite(low) and math.isfinite(high)


def first_of(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that exists. Raises CheckpointError when none does."""
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"{folder} has none of {', '.join(names)}.")
    return path


def some(keys: Iterable[str]) -> str:
    """The first few of many keys, for an error message."""
    few = list(keys)
    return ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
