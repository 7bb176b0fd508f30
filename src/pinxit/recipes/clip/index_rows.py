"""The chunks of a picture index: which files its vectors are of, and the vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pinxit.errors import DataError
from pinxit.files import parse_json
from pinxit.schema import Whole

AGAIN = "delete the index and make it again"
CHUNK = "chunk-{:06d}.safetensors"
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


class Row(NamedTuple):
    """One picture file as it was when its vector was made."""

    path: str
    size: int  # bytes
    changed: int  # nanoseconds

    @classmethod
    def of(cls, path: Path) -> Row:
        """The file as it is now. Raises OSError when it is gone."""
        stat = path.stat()
        return cls(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


def chunks_in(folder: Path) -> list[Path]:
    """The chunks in their order. Raises DataError when one of them is missing."""
    files = sorted(folder.glob("chunk-*.safetensors"))
    for number, path in enumerate(files):
        if path.name != CHUNK.format(number):
            raise DataError(f"{folder} has lost {CHUNK.format(number)}: {AGAIN}.")
    return files


def vectors_in(folder: Path, covered: int) -> Iterator[tuple[int, Floats]]:
    """The chunks that hold rows from `covered` on, each with the number of its first row."""
    from safetensors import safe_open

    start = 0
    for path in chunks_in(folder):
        with safe_open(path, framework="np") as file:
            count = file.get_slice("vectors").get_shape()[0]
            if start + count > covered:
                yield start, file.get_tensor("vectors")
        start += count


def rows_of(path: Path, width: int) -> list[Row]:
    """The rows of a chunk. Raises DataError when it is damaged or its vectors have another width."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            text, vectors = (file.metadata() or {}).get("rows", ""), file.get_slice("vectors")
            shape, kind = vectors.get_shape(), vectors.get_dtype()
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged ({error}): {AGAIN}.") from error
    rows = [Row(*row) for row in parse_json(text, list[tuple[str, Whole, int]], f"{path}: rows", DataError, AGAIN)]
    if kind != "F16":
        raise DataError(f"{path} is damaged (its vectors are {kind}, not F16): {AGAIN}.")
    if shape[1:] != [width]:
        raise DataError(f"{path} holds vectors of shape {shape}, but the index is of width {width}: {AGAIN}.")
    if len(rows) != shape[0]:
        raise DataError(f"{path} is damaged (it has {shape[0]} vectors of {len(rows)} files): {AGAIN}.")
    return rows


def row_of(path: Path) -> Row | None:
    """The file as it is now; None where it is gone."""
    try:
        return Row.of(path)
    except OSError:
        return None
