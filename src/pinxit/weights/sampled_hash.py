"""A hash of networks that others published, whose folders have no manifest with the SHA-256 of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

SETTINGS, TENSORS, ARCHIVE = (".json", ".txt", ".model"), ".safetensors", ".bin"
BLOCK = 4096  # bytes read at the start, in the middle and at the end of a tensor


def sampled_hash(folders: Iterable[Path]) -> str:
    """Twelve hex digits that change with the settings, vocabularies and weights in these folders; some may be missing.

    Weights are read in part, since the SHA-256 of gigabytes takes longer than loading them: the name, size and header
    of each safetensors file, and three blocks of every tensor in it. So training a tensor changes the hash; a change of
    a few rows of a large tensor may go unnoticed. Settings and vocabularies are read whole, and so are torch archives
    where there is no safetensors file, which would be loaded instead. Expects files that have been loaded, and so are
    not damaged.
    """
    digest = hashlib.sha256()
    for path in (path for folder in folders if folder.is_dir() for path in _read_of(folder)):
        if path.suffix in (*SETTINGS, ARCHIVE) and path.is_file():
            content = path.read_bytes()
        elif path.suffix == TENSORS:
            content = _sample(path)
        else:
            continue
        about = [path.parent.name, path.name, path.stat().st_size, hashlib.sha256(content).hexdigest()]
        digest.update(json.dumps(about).encode())
    return digest.hexdigest()[:12]


def _read_of(folder: Path) -> list[Path]:
    """The files of `folder` in order, without archives that are never read."""
    paths = sorted(folder.iterdir())
    safe = any(path.suffix == TENSORS for path in paths)
    return [path for path in paths if not (safe and path.suffix == ARCHIVE)]


def _sample(path: Path) -> bytes:
    """The header of a safetensors file (eight bytes of its length, then JSON), and blocks of each tensor."""
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
        start, tensors = file.tell(), json.loads(header)
        places = sorted(about["data_offsets"] for name, about in tensors.items() if name != "__metadata__")
        return header + b"".join(_blocks(file, start + first, start + last) for first, last in places)


def _blocks(file: BinaryIO, first: int, last: int) -> bytes:
    if last - first <= 3 * BLOCK:
        return _read(file, first, last - first)
    return b"".join(_read(file, place, BLOCK) for place in (first, (first + last - BLOCK) // 2, last - BLOCK))


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)
