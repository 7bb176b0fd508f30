"""Which tensors lie in a file that is mapped into memory, which all processes of a machine share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from torch import Tensor

MAPS = Path("/proc/self/maps")
listed = pytest.mark.skipif(not MAPS.exists(), reason="only Linux lists a process's mapped files")


def mapped_share(tensors: Iterable[Tensor], folder: Path) -> float:
    """The share of the tensors' bytes that lie in mapped files of `folder`."""
    lines = [line.split() for line in MAPS.read_text().splitlines() if str(folder) in line]
    regions = [tuple(int(end, 16) for end in line[0].split("-")) for line in lines]
    sizes = [(one.nbytes, any(first <= one.data_ptr() < last for first, last in regions)) for one in tensors]
    return sum(size for size, inside in sizes if inside) / sum(size for size, _ in sizes)
