"""How text embeddings are precomputed: every distinct caption once, chunk after chunk, into arrays of known size.

tokens.npy    float16 [tokens of all texts, D], only real tokens
offsets.npy   int64 [T + 1], where each text's tokens begin
pooled.npy    float32 [T, E]
texts.jsonl   the T texts, the empty one first
starts.npy    int64 [N + 1], where each picture's captions begin in
places.npy    int64, the text of each caption
embeddings.json  what they were made from; written last, so a folder without it is unfinished
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from pinxit import __version__, files
from pinxit.data.identity import differences
from pinxit.data.lines import as_line
from pinxit.data.scripts import Script, readable
from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.files import replacing, write_bytes, write_json
from pinxit.schema import Count, Whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pinxit.data.bank import Bank
    from pinxit.text.encoders import TextEncoder

FORMAT = 1
MANIFEST, PARTS, PLAN, DONE = "embeddings.json", "parts", "plan.json", "done.json"
TOKENS, OFFSETS, POOLED, TEXTS, STARTS, PLACES = (
    *("tokens.npy", "offsets.npy", "pooled.npy", "texts.jsonl"),
    *("starts.npy", "places.npy"),
)
FILES = (TOKENS, OFFSETS, POOLED, TEXTS, STARTS, PLACES)
AGAIN = "delete its folder and build it again"
CHUNK = 1024  # texts between two marks on the disk; part of the plan, for batches are made inside a chunk


@dataclass(frozen=True)
class Job:
    """Embeddings to be computed, or ones that are finished already."""

    encoder: TextEncoder
    folder: Path
    about: dict[str, Any]
    texts: list[str]
    starts: NDArray[np.int64]
    places: NDArray[np.int64]
    batch: int

    @classmethod
    def plan(
        cls,
        bank: Bank,
        encoder: TextEncoder,
        folder: Path,
        per_picture: int | None,
        batch: int,
        seed: int,
        script: Script,
    ) -> Job:
        """Check what is in `folder` against what is asked for."""
        if encoder.padded:
            raise UsageError("embeddings hold real tokens only: open the text encoder without padded.")
        if batch < 1 or (per_picture is not None and per_picture < 1):
            raise UsageError(f"at least one text at once and one caption a picture, not {batch} and {per_picture}.")
        texts, starts, places = _gather(bank.captions, per_picture, seed, script)
        about = {
            "format": FORMAT,
            "version": __version__,
            "name": encoder.name,
            "encoder": identity_of(encoder),
            "bank": bank.identity(),
            "per_picture": per_picture,
            "seed": seed,
            "script": script,
            "batch": batch,
            "chunk": CHUNK,
            "pictures": len(starts) - 1,
            "texts": len(texts),
        }
        found = next((path for path in (folder / MANIFEST, folder / PARTS / PLAN) if path.is_file()), None)
        if found is not None:
            _compare(read_json(found), about, folder)
        elif folder.exists() and any(path.name != PARTS for path in folder.iterdir()):
            raise DataError(f"{folder} is not empty and holds no embeddings; choose another folder.")
        return cls(encoder, folder, about, texts, starts, places, batch)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / MANIFEST).is_file()

    def build(self, progress: Callable[[int, int], None] | None) -> None:
        """Encode the missing chunks and put the files in place."""
        parts = self.folder / PARTS
        if not (parts / PLAN).is_file():
            self._begin()
        done = int(read_json(parts / DONE)["texts"])
        while done < len(self.texts):
            done = self._chunk(done)
            write_json(parts / DONE, {"texts": done})
            if progress is not None:
                progress(done, len(self.texts))
        for name in FILES:
            if (parts / name).exists():  # else a kill came between two renamings
                (parts / name).replace(self.folder / name)
        write_json(self.folder / MANIFEST, self.about)

    def _begin(self) -> None:
        """Everything but the vectors, whose files are made at full length."""
        parts = self.folder / PARTS
        lengths = [n for start in range(0, len(self.texts), CHUNK) for n in self._lengths(start)]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        sizes: dict[str, tuple[type[np.generic], tuple[int, int]]] = {
            TOKENS: (np.float16, (int(offsets[-1]), self.encoder.width)),
            POOLED: (np.float32, (len(self.texts), self.encoder.pooled_width)),
        }
        _check_room(self.folder, sum(np.dtype(kind).itemsize * rows * width for kind, (rows, width) in sizes.values()))
        write_bytes(parts / TEXTS, b"".join(as_line([text]) for text in self.texts))
        for name, array in ((OFFSETS, offsets), (STARTS, self.starts), (PLACES, self.places)):
            with replacing(parts / name) as temporary, temporary.open("wb") as handle:
                np.save(handle, array, allow_pickle=False)
        for name, (kind, shape) in sizes.items():
            _allocate(parts / name, kind, shape)
        write_json(parts / DONE, {"texts": 0})
        write_json(parts / PLAN, self.about)

    def _lengths(self, start: int) -> list[int]:
        return self.encoder.lengths(self.texts[start : start + CHUNK])

    def _chunk(self, start: int) -> int:
        """Encode the texts of one chunk into their places; returns where the next one begins."""
        parts, texts = self.folder / PARTS, self.texts[start : start + CHUNK]
        rows, pooled = self.encoder.ragged(texts, self.batch)
        offsets = np.load(parts / OFFSETS, allow_pickle=False)[start : start + len(texts) + 1]
        flat = np.concatenate([row.cpu().numpy() for row in rows])
        if len(flat) != offsets[-1] - offsets[0]:
            raise DataError(f"{self.folder}: the text encoder's tokens have changed; delete it and begin again.")
        with np.errstate(over="ignore"):
            halves = flat.astype(np.float16)
        if not np.isfinite(halves).all():
            raise DataError(f"{self.encoder.name} says numbers beyond what float16 holds: they cannot be stored.")
        for name, place, values in ((TOKENS, int(offsets[0]), halves), (POOLED, start, pooled.cpu().numpy())):
            _write(parts / name, place, values)
        return start + len(texts)


def choose(captions: Sequence[str], per_picture: int | None, seed: int, index: int) -> list[str]:
    """The captions of picture `index` that are kept: those of smallest keyed hash, in their order, none twice."""
    different = list(dict.fromkeys(captions))
    if per_picture is None or len(different) <= per_picture:
        return different

    def draw(text: str) -> bytes:
        return hashlib.blake2b(f"{seed}|{index}|{text}".encode(errors="replace"), digest_size=8).digest()

    kept = set(sorted(different, key=draw)[:per_picture])
    return [text for text in different if text in kept]


def identity_of(encoder: TextEncoder) -> dict[str, Any]:
    """What makes an encoder's embeddings these ones."""
    names = ("fingerprint", "width", "pooled_width", "length", "precision")
    return {name: getattr(encoder, name) for name in names}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError when it cannot be read or is of another version."""
    if files.read_json(path, dict, DataError, AGAIN).get("format", FORMAT) != FORMAT:
        raise DataError(f"{path} is not of this version (format {FORMAT}); {AGAIN}.")
    kind: Any = _Done if path.name == DONE else _About
    found: dict[str, Any] = files.read_json(path, kind, DataError, AGAIN)
    return found


class _Done(TypedDict):
    texts: Whole


class _Encoder(TypedDict):
    fingerprint: str
    width: Count
    pooled_width: Count
    length: Count


class _About(TypedDict):
    encoder: _Encoder
    bank: dict[str, Any]
    pictures: Whole
    texts: Whole


def _gather(
    captions: Sequence[Sequence[str]], per_picture: int | None, seed: int, script: Script
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct texts in order of appearance, the empty one first, and which of them each picture has."""
    numbers = {"": 0}
    starts, places = [0], []
    for index, of_picture in enumerate(captions):
        for text in choose(readable(of_picture, script), per_picture, seed, index):
            places.append(numbers.setdefault(text, len(numbers)))
        starts.append(len(places))
        if starts[-1] == starts[-2]:
            raise DataError(f"picture {index} of the bank has no caption.")
    return list(numbers), np.array(starts, dtype=np.int64), np.array(places, dtype=np.int64)


def _write(path: Path, row: int, values: NDArray[Any]) -> None:
    """Put `values` into the rows of an .npy file that begin at `row`, and onto the disk.

    Not through a memory map: a full disk would end the process without a word.
    """
    try:
        with path.open("r+b") as handle:
            np.lib.format.read_magic(handle)
            np.lib.format.read_array_header_1_0(handle)
            handle.seek(row * values.shape[1] * values.itemsize, os.SEEK_CUR)
            handle.write(np.ascontiguousarray(values).data)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise PinxitError(f"cannot write {path}: {error.strerror or error}.") from error


def _allocate(path: Path, kind: type[np.generic], shape: tuple[int, int]) -> None:
    """An .npy file at full length; a file system with sparse files spends no space on it yet."""
    described = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, described)
        handle.truncate(handle.tell() + shape[0] * shape[1] * np.dtype(kind).itemsize)


def _check_room(folder: Path, needed: int) -> None:
    parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise PinxitError(f"the embeddings {folder} need {needed / 1e9:.1f} GB and only {free / 1e9:.1f} GB are free.")


def _compare(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    told = differences(*({name: it.get(name) for name in new if name not in ("name", "version")} for it in (old, new)))
    if told:
        raise DataError(f"{folder} holds other embeddings: {told}; choose another folder or delete it.")
