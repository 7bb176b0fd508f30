"""Arrays that are computed from a bank once, chunk after chunk, and survive a kill at any moment.

A job's arrays are made at full length in FOLDER/parts, filled in order, and moved into FOLDER when all are whole; its
manifest, which says what they were made from, is written last, so that a folder without it is unfinished.
"""

from __future__ import annotations

import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np

from pinxit import files
from pinxit.data import npy
from pinxit.data.identity import differences
from pinxit.data.jsonl import json_line
from pinxit.data.writing_systems import Script, readable
from pinxit.errors import DataError
from pinxit.files import write_bytes, write_json
from pinxit.schema import Whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
PARTS, PLAN, DONE = "parts", "plan.json", "done.json"
AGAIN = "delete its folder and build it again"
TEXTS, STARTS, PLACES = "texts.jsonl", "starts.npy", "places.npy"
CHUNK = 1024  # items between two marks on the disk; part of the plan, for batches are made inside a chunk

Array = tuple[type[np.generic], tuple[int, int]]  # its type and shape


@dataclass(frozen=True)
class ChunkedJob(ABC):
    """Arrays to be computed, or ones that are finished already."""

    MANIFEST: ClassVar[str]
    ABOUT: ClassVar[type[About]]  # what it holds
    KIND: ClassVar[str]  # what sentences call them
    FILES: ClassVar[tuple[str, ...]]

    folder: Path
    about: dict[str, Any]  # what they are made from: becomes the manifest

    @property
    @abstractmethod
    def count(self) -> int:
        """How many items there are to do."""

    @abstractmethod
    def begin(self, parts: Path) -> None:
        """Write everything but the arrays' rows, whose files are made at full length."""

    @abstractmethod
    def chunk(self, parts: Path, start: int) -> int:
        """Do the items from `start` on, at most CHUNK of them; returns where the next ones begin."""

    def check(self) -> None:
        """Raise DataError when the folder holds arrays of something else, or anything else."""
        folder = self.folder
        manifest = next((path for path in (folder / self.MANIFEST, folder / PARTS / PLAN) if path.is_file()), None)
        if manifest is not None:
            self._compare(read_json(manifest, self.ABOUT))
        elif folder.exists() and any(path.name != PARTS and not path.name.startswith(".") for path in folder.iterdir()):
            raise DataError(f"{folder} is not empty and holds no {self.KIND}; choose another folder.")

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / self.MANIFEST).is_file()

    def complete(self, progress: Callable[[int, int], None] | None) -> None:
        """Do what is left, put the files in place and sweep up."""
        if not self.finished:
            self._build(progress)
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)

    def allocate(self, parts: Path, arrays: Mapping[str, Array]) -> None:
        """Empty arrays of full length. Raises PinxitError where the disk has no room for them."""
        needed = sum(npy.size_of(kind, shape) for kind, shape in arrays.values())
        npy.check_room(self.folder, needed, f"the folder of {self.KIND}")
        for name, (kind, shape) in arrays.items():
            npy.allocate(parts / name, kind, shape)

    def _build(self, progress: Callable[[int, int], None] | None) -> None:
        parts = self.folder / PARTS
        if not (parts / PLAN).is_file():
            self.begin(parts)
            write_json(parts / DONE, {"texts": 0})
            write_json(parts / PLAN, self.about)
        done = int(read_json(parts / DONE, _Done)["texts"])
        while done < self.count:
            done = self.chunk(parts, done)
            write_json(parts / DONE, {"texts": done})
            if progress is not None:
                progress(done, self.count)
        for name in self.FILES:
            if (parts / name).exists():  # else a kill came between two renamings
                (parts / name).replace(self.folder / name)
        write_json(self.folder / self.MANIFEST, self.about)

    def _compare(self, old: dict[str, Any]) -> None:
        new = self.about
        mismatch = differences(
            *({name: it.get(name) for name in new if name not in ("name", "version")} for it in (old, new))
        )
        if mismatch:
            raise DataError(f"{self.folder} holds other {self.KIND}: {mismatch}; choose another folder or delete it.")


@dataclass(frozen=True)
class CaptionTable:
    """The distinct captions of a bank in order of appearance, the empty one first, and which each picture has."""

    texts: list[str]
    starts: NDArray[np.int64]  # [N + 1], where each picture's captions begin in `places`
    places: NDArray[np.int64]  # the text of each caption

    @classmethod
    def of(cls, captions: Sequence[Sequence[str]], per_picture: int | None, seed: int, script: Script) -> CaptionTable:
        """At most `per_picture` captions of each picture (None: all). Raises DataError for a picture without any."""
        numbers = {"": 0}
        starts, places = [0], []
        for index, of_picture in enumerate(captions):
            for text in choose(readable(of_picture, script), per_picture, seed, index):
                places.append(numbers.setdefault(text, len(numbers)))
            starts.append(len(places))
            if starts[-1] == starts[-2]:
                raise DataError(f"picture {index} of the bank has no caption.")
        return cls(list(numbers), np.array(starts, dtype=np.int64), np.array(places, dtype=np.int64))

    def write(self, parts: Path) -> None:
        """texts.jsonl, starts.npy and places.npy."""
        write_bytes(parts / TEXTS, b"".join(json_line([text]) for text in self.texts))
        npy.write_array(parts / STARTS, self.starts)
        npy.write_array(parts / PLACES, self.places)


def choose(captions: Sequence[str], per_picture: int | None, seed: int, index: int) -> list[str]:
    """The captions of picture `index` that are kept: those of smallest keyed hash, in their order, none twice."""
    different = list(dict.fromkeys(captions))
    if per_picture is None or len(different) <= per_picture:
        return different

    def draw(text: str) -> bytes:
        return hashlib.blake2b(f"{seed}|{index}|{text}".encode(errors="replace"), digest_size=8).digest()

    kept = set(sorted(different, key=draw)[:per_picture])
    return [text for text in different if text in kept]


def text_numbers(
    starts: NDArray[np.int64], places: NDArray[np.int64], indices: Sequence[int], which: Sequence[int]
) -> NDArray[np.int64]:
    """The text that is caption `which[b]` (modulo how many there are; -1: the empty one) of picture `indices[b]`."""
    place, chosen = np.asarray(indices, dtype=np.int64), np.asarray(which, dtype=np.int64)
    first = starts[place]
    numbers = places[first + chosen % (starts[place + 1] - first)]
    return np.where(chosen < 0, 0, numbers)


def read_json(path: Path, kind: Any) -> dict[str, Any]:
    """A JSON object, of the TypedDict `kind`. Raises DataError when it is not or is of another version."""
    if files.read_json(path, dict, DataError, AGAIN).get("format", FORMAT) != FORMAT:
        raise DataError(f"{path} is not of this version (format {FORMAT}); {AGAIN}.")
    content: dict[str, Any] = files.read_json(path, kind, DataError, AGAIN)
    return content


class About(TypedDict):
    """What every manifest holds."""

    bank: dict[str, Any]
    pictures: Whole
    texts: Whole


class _Done(TypedDict):
    texts: Whole


def halves(values: NDArray[Any], name: str) -> NDArray[np.float16]:
    """Numbers in 16 bits. Raises DataError for numbers that these do not hold."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise DataError(f"{name} says numbers beyond what float16 holds: they cannot be stored.")
    return rounded
