"""The lines of a large UTF-8 file by number, without holding the file in memory: eight bytes a line."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, overload

import numpy as np
from msgspec import Meta

from pinxit.errors import DataError
from pinxit.files import parse_json

Texts = Annotated[list[str], Meta(min_length=1)]
_WINDOW = 1 << 24  # bytes scanned at a time


class MappedLines(Sequence[bytes]):
    """The lines of `path`, read from a memory map when indexed; every line must end with a newline."""

    def __init__(self, path: Path) -> None:
        self._data: mmap.mmap | bytes = b""
        if path.stat().st_size:
            with path.open("rb") as handle:
                self._data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        self._ends = _newlines(self._data)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"line {index} of {len(self)}.")
        start = int(self._ends[place - 1]) + 1 if place else 0
        return self._data[start : int(self._ends[place])]


class Captions(Sequence[tuple[str, ...]]):
    """captions.jsonl as a sequence of tuples, one per item."""

    def __init__(self, path: Path) -> None:
        self.path, self._lines = path, MappedLines(path)

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> tuple[str, ...]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, ...]]: ...

    def __getitem__(self, index: int | slice) -> tuple[str, ...] | list[tuple[str, ...]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        line = self._lines[index]
        where = f"{self.path}, line {1 + index % max(1, len(self))}"
        return tuple(parse_json(line, Texts, where, DataError, "delete its folder and build it again"))

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return (self[i] for i in range(len(self)))


def json_line(value: Any) -> bytes:
    """`value` as one line of JSON, not limited to ASCII; bytes of file names that are not UTF-8 become escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace") + b"\n"


def _newlines(data: mmap.mmap | bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    parts = [
        np.flatnonzero(np.frombuffer(data[start : start + _WINDOW], dtype=np.uint8) == ord("\n")) + start
        for start in range(0, len(data), _WINDOW)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
