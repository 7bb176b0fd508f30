"""Arrays in .npy files that are filled row by row: made at full length, rows put where they belong and onto the disk.

Nothing is written through a memory map: a full disk would end the process without a word.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit.errors import PinxitError
from pinxit.files import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray


def header(kind: type[np.generic], shape: Sequence[int]) -> bytes:
    """The first bytes of an .npy file of this type and shape."""
    written = io.BytesIO()
    described = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(written, described)
    return written.getvalue()


def allocate(path: Path, kind: type[np.generic], shape: Sequence[int]) -> None:
    """An array at full length; a file system with sparse files spends no space on it yet."""
    with replacing(path) as temporary, temporary.open("wb") as handle:
        handle.write(header(kind, shape))
        handle.truncate(handle.tell() + size_of(kind, shape))


def size_of(kind: type[np.generic], shape: Sequence[int]) -> int:
    """Bytes of an array without its header."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize


def write_rows(path: Path, row: int, values: NDArray[Any]) -> None:
    """Put `values` into the rows of an array that begin at `row`. Raises PinxitError where the disk is full."""
    try:
        with path.open("r+b") as handle:
            np.lib.format.read_magic(handle)
            np.lib.format.read_array_header_1_0(handle)
            handle.seek(row * values[0].nbytes, os.SEEK_CUR)
            handle.write(np.ascontiguousarray(values).data)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise PinxitError(f"cannot write {path}: {error.strerror or error}.") from error


def write_array(path: Path, array: NDArray[Any]) -> None:
    """A whole array."""
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise PinxitError where the disk of `folder` has less than `needed` bytes for `what`."""
    parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise PinxitError(f"{what} {folder} needs {needed / 1e9:.1f} GB and only {free / 1e9:.1f} GB are free.")
