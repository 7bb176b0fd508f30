"""Arrays computed once from a bank, chunk after chunk, by jobs that may be killed at any moment and resumed.

A job's arrays are allocated at full length in FOLDER/parts, filled in order, and moved into FOLDER when all are
complete; the manifest, which says what they were made from, is written last: a folder without it is unfinished.
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
from pinxit.data.writing_systems import RULES, Script, captions_in
from pinxit.errors import DataError, UsageError
from pinxit.files import write_bytes, write_json
from pinxit.schema import Whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
PARTS, PLAN, DONE = "parts", "plan.json", "done.json"
AGAIN = "delete its folder and build it again"
TEXTS, STARTS, PLACES = "texts.jsonl", "starts.npy", "places.npy"
CHUNK = 1024  # items between two saves of progress; part of the plan, as no batch crosses the end of a chunk

Array = tuple[type[np.generic], tuple[int, int]]  # dtype and shape


@dataclass(frozen=True)
class ChunkedJob(ABC):
    """A folder of arrays to be computed, or finished already."""

    MANIFEST: ClassVar[str]  # file name
    ABOUT: ClassVar[type[JobManifest]]  # the fields of the manifest
    KIND: ClassVar[str]  # the name of the arrays in messages, a plural
    FILES: ClassVar[tuple[str, ...]]

    folder: Path
    about: dict[str, Any]  # what they are made from: becomes the manifest

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of items to compute."""

    @abstractmethod
    def begin(self, parts: Path) -> None:
        """Allocate the arrays at full length, and write the other files."""

    @abstractmethod
    def chunk(self, parts: Path, start: int) -> int:
        """Compute at most CHUNK items from `start` on; returns where the next chunk begins."""

    def check(self) -> None:
        """Raise DataError when the folder holds arrays made from other data or another model, or other files."""
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
        """Compute what is left, move the files into place and delete the parts folder."""
        if not self.finished:
            self._build(progress)
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)

    def allocate(self, parts: Path, arrays: Mapping[str, Array]) -> None:
        """Create empty arrays of full length. Raises PinxitError if the disk has no room for them."""
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
            if (parts / name).exists():  # else moved already, by a call that was killed before the manifest
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
    """The distinct captions of a bank in order of appearance, the empty one first, and which of them each picture has.

    Picture i has the captions `texts[n] for n in places[starts[i] : starts[i + 1]]`.
    """

    texts: list[str]
    starts: NDArray[np.int64]  # [N + 1], where each picture's captions begin in `places`
    places: NDArray[np.int64]  # for each caption of each picture, its index in `texts`

    @classmethod
    def of(cls, captions: Sequence[Sequence[str]], per_picture: int | None, seed: int, script: Script) -> CaptionTable:
        """At most `per_picture` captions of each picture (None: all).

        Raises DataError for a picture without any, UsageError for an unknown script.
        """
        if script not in RULES:
            raise UsageError(f"there is no script '{script}'; choose from {', '.join(RULES)}.")
        numbers = {"": 0}
        starts, places = [0], []
        for index, of_picture in enumerate(captions):
            for text in choose(captions_in(of_picture, script), per_picture, seed, index):
                places.append(numbers.setdefault(text, len(numbers)))
            starts.append(len(places))
            if starts[-1] == starts[-2]:
                raise DataError(f"picture {index} of the bank has no caption.")
        return cls(list(numbers), np.array(starts, dtype=np.int64), np.array(places, dtype=np.int64))

    def write(self, parts: Path) -> None:
        """Write texts.jsonl, starts.npy and places.npy."""
        write_bytes(parts / TEXTS, b"".join(json_line([text]) for text in self.texts))
        npy.write_array(parts / STARTS, self.starts)
        npy.write_array(parts / PLACES, self.places)


def choose(captions: Sequence[str], per_picture: int | None, seed: int, index: int) -> list[str]:
    """A random choice of at most `per_picture` distinct captions of picture `index`, in their order.

    Those with the smallest keyed hash are kept, so that the choice does not depend on the order of captions.
    """
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
    """Index in `texts` of caption `which[b]` of picture `indices[b]`, int64 [B].

    `which[b]` is taken modulo the picture's number of captions; -1 is the empty text.
    """
    place, chosen = np.asarray(indices, dtype=np.int64), np.asarray(which, dtype=np.int64)
    first = starts[place]
    numbers = places[first + chosen % (starts[place + 1] - first)]
    return np.where(chosen < 0, 0, numbers)


def read_json(path: Path, kind: Any) -> dict[str, Any]:
    """A JSON object with the fields of the TypedDict `kind`. Raises DataError if it is none, or of another version."""
    if files.read_json(path, dict, DataError, AGAIN).get("format", FORMAT) != FORMAT:
        raise DataError(f"{path} is not of this version (format {FORMAT}); {AGAIN}.")
    content: dict[str, Any] = files.read_json(path, kind, DataError, AGAIN)
    return content


class JobManifest(TypedDict):
    """The fields of every manifest."""

    bank: dict[str, Any]
    pictures: Whole
    texts: Whole


class _Done(TypedDict):
    texts: Whole


def to_float16(values: NDArray[Any], name: str) -> NDArray[np.float16]:
    """`values`, computed by the model `name`, as float16. Raises DataError for values out of its range."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise DataError(f"{name} gives numbers beyond the range of float16: they cannot be stored.")
    return rounded
