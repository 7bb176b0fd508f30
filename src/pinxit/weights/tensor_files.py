"""Files of named tensors, whatever wrote them: safetensors whole or in shards, and torch archives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pinxit.errors import CheckpointError, PinxitError
from pinxit.files import replacing
from pinxit.weights.torch_archive import read_torch_archive

INDEX = ".index.json"  # of transformers' shards: which file holds which tensor


def read_tensors(path: Path, packages: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, of the shards that an index names, or of a torch archive.

    `packages`: see `read_torch_archive`. Raises CheckpointError when a file is missing, damaged or holds anything else.
    """
    if path.name.endswith(INDEX):
        return _shards(path, packages)
    if path.suffix != ".safetensors":
        return read_torch_archive(path, packages)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}.") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file as transformers marks them. Raises PinxitError when that is impossible."""
    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            raise PinxitError(f"cannot write {path}: {error}.") from error


def some(keys: Iterable[str]) -> str:
    """The first few of many keys, for an error's sentence."""
    few = list(keys)
    return ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")


def _shards(path: Path, packages: tuple[str, ...]) -> dict[str, Tensor]:
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(places.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is no readable index of weights: {error!r}.") from error
    found: dict[str, Tensor] = {}
    for name in files:
        if Path(name).name != name:
            raise CheckpointError(f"{path} names {name}, which lies outside its folder.")
        found |= read_tensors(path.with_name(name), packages)
    return found
