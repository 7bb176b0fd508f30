"""Small datasets and picture files for the tests of this folder."""

from __future__ import annotations

import io
import os
import resource
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pinxit.data.problems import ItemError
from pinxit.types import Example

if TYPE_CHECKING:
    from pinxit.types import Picture


@dataclass(frozen=True)
class Note:
    """Facts of a toy item."""

    number: int
    places: tuple[int, ...]


class Interrupted(Exception):  # noqa: N818
    """Stands for a kill in the middle."""


@dataclass(frozen=True)
class Toy:
    """Random pictures; items in `broken` are unusable; while `alarm` exists, reading item `alarm_at` ends the work."""

    length: int
    size: int = 8
    seed: int = 0
    broken: tuple[int, ...] = ()
    with_facts: bool = False
    alarm: Path | None = None
    alarm_at: int = -1
    kills: bool = False
    diary: Path | None = None  # every index read is appended here

    def identity(self) -> dict[str, Any]:
        return {"kind": "toy", "seed": self.seed, "size": self.size}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.length:
            raise IndexError(index)
        if self.alarm is not None and self.alarm.exists() and index == self.alarm_at:
            if self.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Interrupted
        if self.diary is not None:
            with self.diary.open("a") as diary:
                diary.write(f"{index}\n")
        if index in self.broken:
            raise ItemError(f"toy-{index}", "is truncated")
        facts = Note(index, (index, index + 1)) if self.with_facts else None
        return Example(self.picture(index), (f"toy {index}", f"第{index}个"), f"toy-{index}", facts)

    def picture(self, index: int) -> Picture:
        draw = np.random.default_rng([self.seed, index])
        return draw.integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)


def gradient(height: int, width: int) -> Picture:
    """A picture whose corners differ: red grows to the right, green downwards, blue is constant."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1)
    return np.stack([red, green, np.full((height, width), 99)], axis=-1).astype(np.uint8)


def encoded(image: Image.Image | Picture, form: str, **options: Any) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format=form, **options)
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes], form: int = tarfile.USTAR_FORMAT, mtime: float = 0) -> None:
    """A tar with `files` by name, in order."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), mtime
            tar.addfile(member, io.BytesIO(content))


@contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """No file of this process may grow beyond `largest` bytes: the nearest thing to a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
