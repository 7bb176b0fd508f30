"""A folder of pictures, each with its captions in a .txt file of the same name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from pinxit.data.captions import from_text
from pinxit.data.decode import SUFFIXES, decode
from pinxit.data.problems import ItemError, Problems
from pinxit.data.transforms import square_crop
from pinxit.data.walk import directories
from pinxit.errors import DataError
from pinxit.files import open_plain
from pinxit.types import Example

KEPT = 4096  # bytes at each end of a file that are hashed, to tell it from another of the same size
OTHER_PICTURES = frozenset({".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd"})


class FolderDataset:
    """Pictures below `folder`, at any depth, each with a .txt of the same name whose lines are its captions.

    Items are sorted by path; a picture is resized and centre-cropped to `size`. Files that are unusable by their names
    (no caption, an unknown format) are listed in `problems` and not counted; reading an item whose file is broken
    raises ItemError. Hidden files are ignored, links to folders elsewhere followed. Raises DataError when no picture
    has a caption.
    """

    def __init__(self, folder: Path | str, size: int) -> None:
        self.folder = Path(folder).absolute()  # a program may change its working directory
        self.size = size
        self.problems = Problems()
        self._names: list[str] = []  # picture paths relative to the folder
        self._captions: list[str] = []  # their captions' paths
        for directory, names in directories(self.folder, self._unlisted):
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
        captions = from_text(self._read(self._captions[index], name), name)
        image = decode(self._read(name, name), name, least=self.size)
        return Example(picture=square_crop(image, self.size), captions=captions, key=name)

    def identity(self) -> dict[str, Any]:
        """What identifies this dataset, wherever the folder is: names, sizes, captions, both ends of picture files."""
        digest, content = hashlib.sha256(), hashlib.sha256()
        for name, caption in zip(self._names, self._captions, strict=True):
            try:
                sizes = [(self.folder / file).stat().st_size for file in (name, caption)]
                content.update(_content(self.folder / caption) + b"\0" + _ends(self.folder / name))
            except OSError:  # whoever reads the item is told, and skips it
                sizes = []
            digest.update(f"{name}\0{sizes}\n".encode(errors="surrogateescape"))
        identity = {"kind": "folder", "items": len(self), "size": self.size}
        return identity | {"files": digest.hexdigest(), "content": content.hexdigest()}

    def _unlisted(self, error: OSError) -> None:
        self.problems.add(os.path.relpath(error.filename, self.folder), f"cannot be listed ({error.strerror})")

    def _add(self, directory: str, names: list[str]) -> None:
        captions: dict[str, str] = {}
        for name in (name for name in names if Path(name).suffix.lower() == ".txt"):  # cameras write IMG_1.TXT
            if captions.setdefault(Path(name).stem, name) != name:
                self.problems.add(os.path.join(directory, name), "is a second caption file of its picture")  # noqa: PTH118
        reported = set()
        for name in names:
            path, stem, suffix = os.path.join(directory, name), Path(name).stem, Path(name).suffix.lower()  # noqa: PTH118
            if suffix in OTHER_PICTURES:
                self.problems.add(path, f"{suffix} pictures are not read")
            elif suffix in SUFFIXES and stem in captions:
                self._names.append(path)
                self._captions.append(os.path.join(directory, captions[stem]))  # noqa: PTH118
            elif suffix in SUFFIXES:
                self.problems.add(path, "has no caption")
            reported.add(stem if suffix in SUFFIXES | OTHER_PICTURES else None)
        for stem in sorted(captions.keys() - reported):
            self.problems.add(os.path.join(directory, captions[stem]), "is a caption without a picture")  # noqa: PTH118

    def _read(self, name: str, key: str) -> bytes:
        try:
            return _content(self.folder / name)
        except OSError as error:
            raise ItemError(key, f"cannot be read ({error.strerror or error})") from error


def _content(path: Path) -> bytes:
    with open_plain(path) as handle:
        return handle.read()


def _ends(path: Path) -> bytes:
    """The first and the last kilobytes of a file."""
    with open_plain(path) as handle:
        first = handle.read(KEPT)
        handle.seek(max(0, path.stat().st_size - KEPT))
        return first + handle.read()
