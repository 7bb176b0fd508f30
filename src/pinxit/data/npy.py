""".npy files that are allocated at full length and then filled, some rows at a time.

Nothing is written through a memory map: if the disk is full, that kills the process (SIGBUS) without a message.
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
from pinxit.files import atomic_file

if TYPE_CHECKING:
    from numpy.typing import NDArray


def header(kind: type[np.generic], shape: Sequence[int]) -> bytes:
    """The header of an .npy file with this dtype and shape."""
    written = io.BytesIO()
    lengths = tuple(map(int, shape))  # a number of NumPy's would be written as its repr, which nothing reads
    described = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": lengths}
    np.lib.format.write_array_header_1_0(written, described)
    return written.getvalue()


def allocate(path: Path, kind: type[np.generic], shape: Sequence[int]) -> None:
    """Create an array at full length, filled with zeros; with sparse files it takes no space yet."""
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        handle.write(header(kind, shape))
        handle.truncate(handle.tell() + size_of(kind, shape))


def size_of(kind: type[np.generic], shape: Sequence[int]) -> int:
    """The bytes of an array, without the header."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize


def write_rows(path: Path, row: int, values: NDArray[Any]) -> None:
    """Write `values` into the rows of an array from `row` on, and flush. Raises PinxitError when the disk is full."""
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
    """Write a whole array."""
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise PinxitError if the disk of `folder` has less than `needed` bytes free for `what`."""
    parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise PinxitError(f"{what} {folder} needs {needed / 1e9:.1f} GB and only {free / 1e9:.1f} GB are free.")
