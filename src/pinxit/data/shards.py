"""Tar shards in the webdataset convention, as img2dataset writes them: key.jpg with key.txt and/or key.json.

Nothing is unpacked: an index of byte ranges is made once, and items are read by random access.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit.data.captions import from_json, from_text
from pinxit.data.decode import SUFFIXES, decode
from pinxit.data.folders import OTHER_PICTURES
from pinxit.data.problems import ItemError, Problems
from pinxit.data.tar_index import Member, TarDamage, members
from pinxit.data.transforms import square_crop
from pinxit.errors import DataError
from pinxit.types import Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPEN_SHARDS = 64
PICTURE, TEXT, JSON = range(3)
ABSENT = (-1, -1)


@dataclass(frozen=True)
class Shard:
    """The index of one tar: `keys` bytes [N], `spans` int64 [N, 3 (picture, txt, json), 2 (start, size)] in bytes."""

    path: Path
    keys: NDArray[np.bytes_]
    spans: NDArray[np.int64]


class ShardDataset:
    """The items of several tars, one after the other, in their order; resized and centre-cropped to `size`.

    The lines of key.txt are the captions, or else the "captions" or "caption" of key.json. Items that are unusable by
    the index alone (no caption, an unknown format) are listed in `problems` and not counted; reading an item that is
    broken raises ItemError. Threads may share it. Raises DataError when no item is left.
    """

    def __init__(self, paths: Sequence[Path | str] | Path | str, size: int) -> None:
        paths, self.size = [paths] if isinstance(paths, str | Path) else paths, size
        self.problems = Problems()
        self._shards: list[Shard] = []
        for path in paths:
            place = Path(path).absolute()  # a program may change its working directory
            try:
                self._shards.append(index_shard(place, self.problems))
            except DataError as error:
                self.problems.add(str(path), str(error).removeprefix(f"{place} ").rstrip("."))
        self._ends = np.cumsum([len(shard.keys) for shard in self._shards])
        self._open, self._lock = OrderedDict[int, mmap.mmap](), Lock()
        if len(self) == 0:
            reason = f"; {self.problems.report()}" if self.problems else "."
            raise DataError(f"there is no picture with a caption in {_named(paths)}{reason}")

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}.")
        number = int(np.searchsorted(self._ends, index, side="right"))
        shard = self._shards[number]
        row = index - int(self._ends[number]) + len(shard.keys)
        return example_of(shard, row, self.size, lambda span: self._bytes(number, span))

    def identity(self) -> dict[str, Any]:
        """What identifies this dataset: the shards' names and indices, wherever they are."""
        digest = hashlib.sha256()
        for shard in self._shards:
            digest.update(
                f"{shard.path.name}\0".encode(errors="surrogateescape") + shard.keys.tobytes() + shard.spans.tobytes()
            )
        return {"kind": "shards", "items": len(self), "size": self.size, "files": digest.hexdigest()}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_open", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:  # memory maps and locks cannot be pickled
        self.__dict__ |= state | {"_open": OrderedDict(), "_lock": Lock()}

    def _bytes(self, number: int, span: NDArray[np.int64]) -> bytes:
        with self._lock:
            data = self._open.get(number)
            if data is None:
                data = self._map(number)
            self._open.move_to_end(number)
            return data[int(span[0]) : int(span[0] + span[1])]

    def _map(self, number: int) -> mmap.mmap:
        path = self._shards[number].path
        try:
            with path.open("rb") as handle:
                self._open[number] = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ItemError(path.name, "cannot be read any more") from error
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)[1].close()
        return self._open[number]


def example_of(shard: Shard, row: int, size: int, read: Callable[[NDArray[np.int64]], bytes] | None = None) -> Example:
    """Item `row` of a shard; `read` returns the bytes of a span (None: from its file). Raises ItemError if broken."""
    read = read or (lambda span: _read(shard.path, span))
    key, spans = _key(shard, row), shard.spans[row]
    captions = captions_of(shard, row, read)
    image = decode(read(spans[PICTURE]), key, least=size)
    return Example(picture=square_crop(image, size), captions=captions, key=key)


def captions_of(shard: Shard, row: int, read: Callable[[NDArray[np.int64]], bytes] | None = None) -> tuple[str, ...]:
    """The captions of item `row` of a shard; `read` as in `example_of`. Raises ItemError if there are none."""
    read = read or (lambda span: _read(shard.path, span))
    key, spans = _key(shard, row), shard.spans[row]
    has_text = spans[TEXT, 0] >= 0
    return from_text(read(spans[TEXT]), key) if has_text else from_json(read(spans[JSON]), key)


def _key(shard: Shard, row: int) -> str:
    """The name of an item in messages."""
    return f"{shard.path.name}/{shard.keys[row].decode(errors='surrogateescape')}"


def read_span(path: Path, span: NDArray[np.int64]) -> bytes:
    """The bytes of `span` (start, size) in a file, without a memory map, whose pages would count as the process's.

    Raises OSError when the file cannot be read, or ends too early.
    """
    with path.open("rb", buffering=0) as handle:
        data = os.pread(handle.fileno(), int(span[1]), int(span[0]))
    if len(data) != int(span[1]):
        raise OSError(f"ends at byte {int(span[0]) + len(data)}")
    return data


def _read(path: Path, span: NDArray[np.int64]) -> bytes:
    """`read_span`, raising DataError rather than ItemError: if the disk fails, the item is not to blame."""
    try:
        return read_span(path, span)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error


def index_shard(path: Path, problems: Problems) -> Shard:
    """The index of one tar; unusable items are added to `problems`. Raises DataError when it is not a readable tar."""
    places: dict[str, list[tuple[int, int]]] = {}
    try:
        for member in members(path):
            _place(member, places, path.name, problems)
    except TarDamage as damage:
        problems.add(path.name, str(damage).removeprefix(f"{path} ").rstrip("."))
    usable = {}
    for key, spans in places.items():
        if spans[PICTURE] == ABSENT:
            problems.add(f"{path.name}/{key}", "is a caption without a picture")
        elif spans[TEXT] == spans[JSON] == ABSENT:
            problems.add(f"{path.name}/{key}", "has no caption")
        else:
            usable[key] = spans
    keys = np.array([key.encode(errors="surrogateescape") for key in usable], dtype=np.bytes_)
    return Shard(path, keys, np.array(list(usable.values()), dtype=np.int64).reshape(-1, 3, 2))


def _place(member: Member, places: dict[str, list[tuple[int, int]]], tar: str, problems: Problems) -> None:
    """Enter a file of `tar` into `places`: its key is the path up to the first dot of the name, its kind what follows.

    If the kind is unknown, the name may hold other dots ("v1.5 b.jpg"): then it is split at the last one.
    """
    folder, slash, name = member.name.rpartition("/")
    stem, dot, kind = name.partition(".")
    if not stem or not dot:
        return
    known = SUFFIXES | OTHER_PICTURES | {".txt", ".json"}
    if f".{kind.lower()}" not in known:
        stem, _, kind = name.rpartition(".")
    suffix = "." + kind.lower()
    if suffix in known and member.problem:
        problems.add(f"{tar}/{member.name}", member.problem)
        return
    if suffix in OTHER_PICTURES:
        problems.add(f"{tar}/{member.name}", f"{suffix} pictures are not read")
        return
    part = {".txt": TEXT, ".json": JSON}.get(suffix, PICTURE if suffix in SUFFIXES else None)
    if part is None:
        return
    spans = places.setdefault(folder + slash + stem, [ABSENT, ABSENT, ABSENT])
    if spans[part] != ABSENT:
        problems.add(f"{tar}/{member.name}", "occurs twice in its tar")
    else:
        spans[part] = (member.start, member.size)


def _named(paths: Sequence[Path | str]) -> str:
    several = f"{len(paths)} tars ({paths[0]}, ...)" if paths else "an empty list of tars"
    return str(paths[0]) if len(paths) == 1 else several
