"""A folder of pictures with same-named .txt captions, as people keep them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from pinxit.data.captions import from_text
from pinxit.data.decode import SUFFIXES, decode
from pinxit.data.problems import ItemError, Problems
from pinxit.data.transforms import square
from pinxit.errors import DataError
from pinxit.types import Example

OTHER_PICTURES = frozenset({".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd"})


class FolderDataset:
    """Pictures below `folder`, at any depth, each with a .txt of the same name whose lines are its captions.

    Items are sorted by path; a picture is resized and centre-cropped to `size`. What the names alone show to be
    unusable stands in `problems` and is not counted; a file that proves broken when read raises ItemError at its
    index. Hidden files are left alone. Raises DataError when no picture has a caption.
    """

    def __init__(self, folder: Path | str, size: int) -> None:
        self.folder = Path(folder)
        self.size = size
        self.problems = Problems()
        self._names: list[str] = []  # picture paths relative to the folder
        for directory, names in _directories(self.folder):
            self._add(directory, names)
        if not self._names:
            raise DataError(
                f"{folder} holds no picture with a caption beside it (cat.jpg and cat.txt)"
                + (f"; {self.problems.report()}" if self.problems else ".")
            )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        name = self._names[index]
        captions = from_text(self._read(str(Path(name).with_suffix(".txt")), name), name)
        image = decode(self._read(name, name), name, least=self.size)
        return Example(picture=square(image, self.size), captions=captions, key=name)

    def identity(self) -> dict[str, Any]:
        """What makes this dataset this one: its files' names and sizes, wherever the folder lies."""
        digest = hashlib.sha256()
        for name in self._names:
            sizes = [(self.folder / file).stat().st_size for file in (name, Path(name).with_suffix(".txt"))]
            digest.update(f"{name}\0{sizes}\n".encode(errors="surrogateescape"))
        return {"kind": "folder", "items": len(self), "size": self.size, "files": digest.hexdigest()}

    def _add(self, directory: str, names: list[str]) -> None:
        captions = {Path(name).stem for name in names if Path(name).suffix == ".txt"}
        told = set()
        for name in names:
            path, stem, suffix = os.path.join(directory, name), Path(name).stem, Path(name).suffix.lower()  # noqa: PTH118
            if suffix in OTHER_PICTURES:
                self.problems.add(path, f"{suffix} pictures are not read")
            elif suffix in SUFFIXES and stem in captions:
                self._names.append(path)
            elif suffix in SUFFIXES:
                self.problems.add(path, "has no caption")
            told.add(stem if suffix in SUFFIXES | OTHER_PICTURES else None)
        for stem in sorted(captions - told):
            self.problems.add(os.path.join(directory, f"{stem}.txt"), "is a caption without a picture")  # noqa: PTH118

    def _read(self, name: str, key: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise ItemError(key, f"cannot be read ({error.strerror or error})") from error


def _directories(folder: Path) -> list[tuple[str, list[str]]]:
    """(path relative to `folder`, sorted names of its files) of every visible directory, sorted."""
    found = []
    for directory, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        relative = os.path.relpath(directory, folder)
        visible = sorted(name for name in names if not name.startswith("."))
        found.append(("" if relative == "." else relative, visible))
    return found
