"""Writes safetensors files whose tensors need not fit in memory: their rows come in parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pinxit.files import atomic_file

CODES = {  # safetensors' names of dtypes
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class TensorParts:
    """A tensor of this shape whose rows are made when they are written, some at a time."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    parts: Iterator[Tensor]


def write_parts(path: Path, tensors: Mapping[str, Tensor | TensorParts], notes: Mapping[str, str]) -> None:
    """Write a safetensors file with `notes` as its metadata.

    Raises PinxitError when it cannot be written, and what making the parts raises; no file is left then.
    """
    every = {
        name: one if isinstance(one, TensorParts) else TensorParts(tuple(one.shape), one.dtype, iter([one]))
        for name, one in tensors.items()
    }
    order = sorted(every, key=lambda name: (-every[name].dtype.itemsize, name))  # so that each tensor is aligned
    header: dict[str, object] = {"__metadata__": dict(notes)}
    end = 0
    for name in order:
        begin, end = end, end + _bytes(every[name])
        about = every[name]
        header[name] = {"dtype": CODES[about.dtype], "shape": list(about.shape), "data_offsets": [begin, end]}
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        for name in order:
            before = file.tell()
            for part in every[name].parts:
                assert part.dtype == every[name].dtype and tuple(part.shape[1:]) == every[name].shape[1:]
                file.write(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            assert file.tell() - before == _bytes(every[name]), f"{name} has other rows than it should"


def _bytes(about: TensorParts) -> int:
    return torch.Size(about.shape).numel() * about.dtype.itemsize
