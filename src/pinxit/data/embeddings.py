"""The outputs of a frozen text encoder for a bank's captions, computed once and memory-mapped by every training run.

Shapes: N pictures, B texts, L positions, D width, E pooled width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pinxit.data.chunks import PLACES, STARTS, TEXTS, read_json, text_numbers
from pinxit.data.embeddings_builder import (
    MANIFEST,
    OFFSETS,
    POOLED,
    TOKENS,
    EmbeddingsJob,
    EmbeddingsManifest,
    identity_of,
)
from pinxit.data.identity import differences
from pinxit.data.jsonl import Captions
from pinxit.data.writing_systems import Script
from pinxit.errors import DataError
from pinxit.types import EncodedText

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pinxit.data.bank import Bank
    from pinxit.text.encoders import TextEncoder


@dataclass(frozen=True)
class Embeddings:
    """The finished embeddings of a bank. Picture i has `count(i)` captions: those that were kept, in order."""

    folder: Path
    about: dict[str, Any]  # embeddings.json: format, version, encoder, bank, per_picture, seed, pictures, texts ...
    texts: Captions
    _tokens: NDArray[np.float16]
    _offsets: NDArray[np.int64]
    _pooled: NDArray[np.float32]
    _starts: NDArray[np.int64]
    _places: NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path | str, in_memory: bool = False) -> Embeddings:
        """Open a finished folder; `in_memory` reads all at once. Raises DataError when it is unfinished or damaged."""
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise DataError(f"{folder} holds no finished embeddings: it has no {MANIFEST}.")
        about = read_json(folder / MANIFEST, EmbeddingsManifest)

        def array(name: str, mapped: bool = False) -> Any:
            return np.load(folder / name, mmap_mode="r" if mapped and not in_memory else None, allow_pickle=False)

        try:
            texts, tokens, pooled = Captions(folder / TEXTS), array(TOKENS, True), array(POOLED, True)
            offsets, starts, places = array(OFFSETS), array(STARTS), array(PLACES)
            whole = (len(tokens), len(places), len(pooled), len(texts)) == (
                *(offsets[-1], starts[-1]),
                *(about["texts"], len(offsets) - 1),
            )
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise DataError(f"the embeddings {folder} are damaged ({error}); delete and build them again.") from error
        if not whole or len(starts) - 1 != about["pictures"]:
            raise DataError(f"the embeddings {folder} are damaged: lengths differ; delete and build them again.")
        return cls(folder.absolute(), about, texts, tokens, offsets, pooled, starts, places)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __reduce__(self) -> tuple[Any, ...]:
        return Embeddings.open, (self.folder,)  # another process maps the files itself

    @property
    def width(self) -> int:
        """D, the width of a token's embedding."""
        return int(self._tokens.shape[1])

    @property
    def length(self) -> int:
        """L, the most tokens of a text."""
        return int(self.about["encoder"]["length"])

    def count(self, index: int) -> int:
        """The number of stored captions of picture `index`, at least 1."""
        return int(self._starts[index + 1] - self._starts[index])

    def text(self, index: int, which: int) -> str:
        """Caption `which` of picture `index`."""
        return self.texts[int(self._text_numbers([index], [which])[0])][0]

    def rows(self, indices: Sequence[int], which: Sequence[int], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings float32 [B, L, D], padded with zeros, and their mask, bool [B, L].

        Row b is caption `which[b]` (modulo their number; -1: the empty text) of picture `indices[b]`, truncated to
        `length` tokens (None: L).
        """
        return self._rows(self._text_numbers(indices, which), length or self.length)

    def condition(self, indices: Sequence[int], which: Sequence[int], length: int | None = None) -> EncodedText:
        """`rows` with the pooled vectors, float32 [B, E]."""
        numbers = self._text_numbers(indices, which)
        sequence, mask = self._rows(numbers, length or self.length)
        return EncodedText(sequence, torch.from_numpy(self._pooled[numbers].astype(np.float32)), mask)

    def require(self, encoder: TextEncoder, bank: Bank | None = None) -> None:
        """Raises DataError unless these are embeddings of `bank` by `encoder` (in any precision)."""
        stored, here = self.about["encoder"], identity_of(encoder)
        names = ("fingerprint", "length", "padded")
        wrong = differences(*({name: it.get(name) for name in names} for it in (stored, here)))
        if bank is not None:
            wrong = wrong or differences(self.about["bank"], bank.identity())
        if wrong:
            raise DataError(f"the embeddings {self.folder} do not fit: {wrong}; delete and build them again.")

    def _text_numbers(self, indices: Sequence[int], which: Sequence[int]) -> NDArray[np.int64]:
        return text_numbers(self._starts, self._places, indices, which)

    def _rows(self, numbers: NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
        sequence = np.zeros((len(numbers), length, self.width), dtype=np.float32)
        mask = np.zeros((len(numbers), length), dtype=bool)
        for row, number in enumerate(numbers):
            start = int(self._offsets[number])
            size = min(length, int(self._offsets[number + 1]) - start)
            sequence[row, :size] = self._tokens[start : start + size]
            mask[row, :size] = True
        return torch.from_numpy(sequence), torch.from_numpy(mask)


def build_embeddings(
    bank: Bank,
    encoder: TextEncoder,
    folder: Path | str,
    per_picture: int | None = None,
    batch: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    script: Script = "all",
) -> Embeddings:
    """Encode at most `per_picture` captions of each picture (None: all; which ones depends on `seed`) into `folder`.

    `script`: the writing system that the encoder knows; captions in others are left out. Each distinct text is encoded
    and stored once, in float16, `batch` texts at a time. May be killed at any time: the same call goes on where it
    stopped and ends with the same bytes; it returns at once when the folder is finished. `progress(done, texts)` is
    called now and then. Raises UsageError for numbers below 1, DataError when `folder` holds other embeddings or
    anything else, PinxitError when the disk is full.
    """
    EmbeddingsJob.plan(bank, encoder, Path(folder), per_picture, batch, seed, script).complete(progress)
    return Embeddings.open(folder)
