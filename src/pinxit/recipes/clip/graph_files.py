"""Files of search graphs. Each ends in a checksum: usearch follows whatever a file says, and a flipped bit in one ends
the process (usearch 2.26). It ignores what stands behind a graph.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.errors import PinxitError, UsageError, install
from pinxit.files import atomic_file

if TYPE_CHECKING:
    from usearch.index import Index as Graph

BLOCK = 2**20  # bytes read at a time
DIGEST = hashlib.sha256().digest_size


def new_graph(width: int) -> Graph:
    """An empty graph for unit vectors of `width` numbers. Raises UsageError where usearch is not installed."""
    graph: Graph = _graphs()(ndim=width, metric="cos", dtype="f16")
    return graph


def read_graph(path: Path, view: bool) -> Graph | None:
    """The graph of a file, with `view` mapped into memory; None if it is damaged, or of a version without checksums.

    Raises UsageError where usearch is not installed.
    """
    graphs = _graphs()
    with suppress(Exception):  # usearch raises many kinds
        length = path.stat().st_size - DIGEST
        with path.open("rb") as handle:
            handle.seek(length)
            if handle.read() == _digest(path, length):
                graph: Graph = graphs.restore(str(path), view=view)
                return graph
    return None


def write_graph(graph: Graph, path: Path) -> None:
    """Write a graph atomically. Raises PinxitError when that fails."""
    with atomic_file(path) as temporary:
        try:
            graph.save(str(temporary))
        except RuntimeError as error:
            raise PinxitError(f"cannot write {path}: {error}.") from error
        length = temporary.stat().st_size
        if length != graph.serialized_length:  # which happens on a full disk without an error
            raise PinxitError(f"cannot write {path}: the disk did not take all of it.")
        with temporary.open("ab") as handle:
            handle.write(_digest(temporary, length))


def _digest(path: Path, length: int) -> bytes:
    """The SHA-256 of a file's first `length` bytes."""
    digest, left = hashlib.sha256(), length
    with path.open("rb") as handle:
        while left > 0 and (block := handle.read(min(left, BLOCK))):
            digest.update(block)
            left -= len(block)
    return digest.digest()


def _graphs() -> Any:
    import torch  # noqa: F401 - before usearch, whose own C++ library makes torch.jit hang where it was loaded first

    try:
        from usearch.index import Index
    except ImportError as error:
        raise UsageError(f"searching needs the package usearch: {install('search')}.") from error
    return Index
