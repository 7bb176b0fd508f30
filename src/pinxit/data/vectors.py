"""The CLIP embeddings of a bank's pictures and captions, computed once and memory-mapped.

pictures.npy   float16 [N, E], rows of length one
captions.npy   float16 [T, E], of the T distinct captions, the empty one first
texts.jsonl, starts.npy, places.npy   which captions each picture has, as in `data.embeddings_builder`
vectors.json   what they were made from: the CLIP by its fingerprint, the bank; written last

If both are made with the same `per_picture`, `seed` and `script`, caption j of picture i is the same here and in
`data.embeddings.Embeddings`.
Shapes: N pictures, B rows, E width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from pinxit import __version__
from pinxit.data import chunks, npy
from pinxit.data.chunks import (
    FORMAT,
    PLACES,
    STARTS,
    TEXTS,
    CaptionTable,
    ChunkedJob,
    JobManifest,
    read_json,
    text_numbers,
    to_float16,
)
from pinxit.data.identity import differences
from pinxit.data.jsonl import Captions
from pinxit.data.order import order_batch
from pinxit.data.stream_order import Rows
from pinxit.data.writing_systems import Script
from pinxit.errors import DataError
from pinxit.schema import Count, checked, plain_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pinxit.data.bank import Bank
    from pinxit.data.embeddings import Embeddings
    from pinxit.types import Picture

MANIFEST, PICTURES, CAPTIONS = "vectors.json", "pictures.npy", "captions.npy"
CHOICE = ("per_picture", "seed", "script")  # the options that decide which captions are kept


class ImageTextEncoder(Protocol):
    """A CLIP: unit vectors of pictures and texts, each independent of its batch (see `recipes.clip.encoder`)."""

    name: str
    width: int  # E

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any weight."""

    def pictures(self, pictures: Sequence[Picture], /) -> NDArray[np.float32]:
        """Unit vectors [B, E] of pictures of any size."""

    def texts(self, texts: Sequence[str], /, cut: bool = False) -> NDArray[np.float32]:
        """Unit vectors [B, E] of texts; with `cut`, those that are too long are truncated."""


class _Clip(TypedDict):
    fingerprint: str
    width: Count


class VectorsManifest(JobManifest):
    """vectors.json."""

    clip: _Clip


@dataclass(frozen=True)
class Vectors:
    """The finished vectors of a bank. Picture i has `count(i)` captions: those that were kept, in order."""

    folder: Path
    about: dict[str, Any]  # vectors.json: format, version, name, clip, bank, per_picture, seed, script, pictures, texts
    pictures: NDArray[np.float16]  # [N, E]
    texts: Captions
    _captions: NDArray[np.float16]
    _starts: NDArray[np.int64]
    _places: NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path | str) -> Vectors:
        """Open a finished folder. Raises DataError when it is unfinished or damaged."""
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise DataError(f"{folder} holds no finished vectors: it has no {MANIFEST}.")
        about = read_json(folder / MANIFEST, VectorsManifest)

        def array(name: str, mapped: bool = False) -> Any:
            return np.load(folder / name, mmap_mode="r" if mapped else None, allow_pickle=False)

        try:
            texts, pictures, captions = Captions(folder / TEXTS), array(PICTURES, True), array(CAPTIONS, True)
            starts, places = array(STARTS), array(PLACES)
            lengths = (len(pictures), len(starts) - 1, len(captions), len(texts), len(places))
            whole = lengths == (about["pictures"],) * 2 + (about["texts"],) * 2 + (starts[-1],)
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise DataError(f"the vectors {folder} are damaged ({error}); delete and build them again.") from error
        if not whole:
            raise DataError(f"the vectors {folder} are damaged: lengths differ; delete and build them again.")
        return cls(folder.absolute(), about, pictures, texts, captions, starts, places)

    def __len__(self) -> int:
        return len(self.pictures)

    def __reduce__(self) -> tuple[Any, ...]:
        return Vectors.open, (self.folder,)  # another process maps the files itself

    @property
    def width(self) -> int:
        """E, the width of an embedding."""
        return int(self.pictures.shape[1])

    def order(self, rows: Rows, seed: int) -> NDArray[np.int64]:
        """The pictures of these rows of an update, int64 [count]."""
        return order_batch(rows.first + rows.start, rows.count, len(self), seed)

    def count(self, index: int) -> int:
        """The number of stored captions of picture `index`, at least 1."""
        return int(self._starts[index + 1] - self._starts[index])

    def text(self, index: int, which: int) -> str:
        """Caption `which` of picture `index`."""
        return self.texts[int(self._numbers([index], [which])[0])][0]

    def image_embeddings(self, indices: Sequence[int]) -> Tensor:
        """The embeddings of pictures, float32 [B, E]."""
        return torch.from_numpy(self.pictures[np.asarray(indices, dtype=np.int64)].astype(np.float32))

    def text_embeddings(self, indices: Sequence[int], which: Sequence[int]) -> Tensor:
        """The embeddings of captions, float32 [B, E]: caption `which[b]` (modulo their number; -1: the empty one)."""
        return torch.from_numpy(self._captions[self._numbers(indices, which)].astype(np.float32))

    def require(self, clip: ImageTextEncoder, bank: Bank | None = None) -> None:
        """Raises DataError unless these are embeddings of `bank` by `clip`."""
        wrong = differences(self.about["clip"], identity_of(clip))
        if bank is not None:
            wrong = wrong or differences(self.about["bank"], bank.identity())
        if wrong:
            raise DataError(f"the vectors {self.folder} do not fit: {wrong}; delete and build them again.")

    def require_captions(self, read: Embeddings) -> None:
        """Raises DataError unless caption j of picture i is the same one in `read`."""
        names = (*CHOICE, "pictures", "texts")
        wrong = differences(*({name: about.get(name) for name in names} for about in (self.about, read.about)))
        if wrong:
            raise DataError(f"{self.folder} and {read.folder} hold different captions: {wrong}; delete and build both.")

    def _numbers(self, indices: Sequence[int], which: Sequence[int]) -> NDArray[np.int64]:
        return text_numbers(self._starts, self._places, indices, which)


@dataclass(frozen=True)
class VectorsJob(ChunkedJob):
    """Vectors to be computed, pictures first, or finished already."""

    MANIFEST, ABOUT = MANIFEST, VectorsManifest
    KIND = "vectors"
    FILES = (PICTURES, CAPTIONS, TEXTS, STARTS, PLACES)

    bank: Bank
    clip: ImageTextEncoder
    captions: CaptionTable

    @property
    def count(self) -> int:
        return len(self.bank) + len(self.captions.texts)

    def begin(self, parts: Path) -> None:
        rows = {PICTURES: len(self.bank), CAPTIONS: len(self.captions.texts)}
        self.allocate(parts, {name: (np.float16, (count, self.clip.width)) for name, count in rows.items()})
        self.captions.write(parts)

    def chunk(self, parts: Path, start: int) -> int:
        pictures = len(self.bank)
        if start < pictures:
            stop = min(start + chunks.CHUNK, pictures)
            name, place, rows = PICTURES, start, self.clip.pictures(list(np.asarray(self.bank.pictures[start:stop])))
        else:
            place = start - pictures
            texts = self.captions.texts[place : place + chunks.CHUNK]
            name, stop, rows = CAPTIONS, start + len(texts), self.clip.texts(texts, cut=True)
        npy.write_rows(parts / name, place, to_float16(rows, self.clip.name))
        return stop


def build_vectors(
    bank: Bank,
    clip: ImageTextEncoder,
    folder: Path | str,
    per_picture: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    script: Script = "all",
) -> Vectors:
    """Embed a bank's pictures, and at most `per_picture` captions of each (None: all), by `clip` into `folder`.

    `seed` decides which captions are kept; those in other writing systems than `script` are left out. May be killed at
    any time: the same call goes on where it stopped and ends with the same bytes; it returns at once when the folder is
    finished. `progress(done, items)` is called now and then. Raises UsageError for `per_picture` below 1, DataError
    when `folder` holds vectors of another CLIP, another bank or other captions, or anything else, PinxitError when the
    disk is full.
    """
    if per_picture is not None:
        per_picture = checked(Count, plain_number(per_picture), "captions a picture")
    captions = CaptionTable.of(bank.captions, per_picture, seed, script)
    about = {
        "format": FORMAT,
        "version": __version__,
        "name": clip.name,
        "clip": identity_of(clip),
        "bank": bank.identity(),
        "per_picture": per_picture,
        "seed": seed,
        "script": script,
        "chunk": chunks.CHUNK,
        "pictures": len(bank),
        "texts": len(captions.texts),
    }
    job = VectorsJob(Path(folder), about, bank, clip, captions)
    job.check()
    job.complete(progress)
    return Vectors.open(folder)


def identity_of(clip: ImageTextEncoder) -> dict[str, Any]:
    """What identifies the vectors of a CLIP."""
    return {"fingerprint": clip.fingerprint, "width": clip.width}
