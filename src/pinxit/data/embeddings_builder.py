"""How text embeddings are precomputed: every distinct caption once, chunk after chunk, into arrays of known size.

tokens.npy    float16 [tokens of all texts, D], pads too if the encoder keeps the model's output there
offsets.npy   int64 [T + 1], where each text's tokens begin
pooled.npy    float32 [T, E]
texts.jsonl   the T texts, the empty one first
starts.npy    int64 [N + 1], where each picture's captions begin in places.npy
places.npy    int64, for each caption of each picture, its line in texts.jsonl
embeddings.json  what they were made from; written last, so a folder without it is unfinished
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch

from pinxit import __version__
from pinxit.data import chunks, npy
from pinxit.data.chunks import (
    FORMAT,
    PLACES,
    STARTS,
    TEXTS,
    Array,
    CaptionTable,
    ChunkedJob,
    JobManifest,
    to_float16,
)
from pinxit.data.writing_systems import Script
from pinxit.errors import DataError
from pinxit.schema import Count, checked, plain_number

if TYPE_CHECKING:
    from pinxit.data.bank import Bank
    from pinxit.text.encoders import TextEncoder

MANIFEST, TOKENS, OFFSETS, POOLED = "embeddings.json", "tokens.npy", "offsets.npy", "pooled.npy"


class _Encoder(TypedDict):
    fingerprint: str
    width: Count
    pooled_width: Count
    length: Count


class EmbeddingsManifest(JobManifest):
    """embeddings.json."""

    encoder: _Encoder


@dataclass(frozen=True)
class EmbeddingsJob(ChunkedJob):
    """Embeddings to be computed, or finished already."""

    MANIFEST, ABOUT = MANIFEST, EmbeddingsManifest
    KIND = "embeddings"
    FILES = (TOKENS, OFFSETS, POOLED, TEXTS, STARTS, PLACES)

    encoder: TextEncoder
    captions: CaptionTable
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
    ) -> EmbeddingsJob:
        """Compare what is in `folder` with what is asked for. Raises DataError if it holds anything else."""
        batch = checked(Count, plain_number(batch), "texts at once")
        if per_picture is not None:
            per_picture = checked(Count, plain_number(per_picture), "captions a picture")
        captions = CaptionTable.of(bank.captions, per_picture, seed, script)
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
            "chunk": chunks.CHUNK,
            "pictures": len(captions.starts) - 1,
            "texts": len(captions.texts),
        }
        job = cls(folder, about, encoder, captions, batch)
        job.check()
        return job

    @property
    def count(self) -> int:
        return len(self.captions.texts)

    def begin(self, parts: Path) -> None:
        size = chunks.CHUNK
        lengths = [n for start in range(0, self.count, size) for n in lengths_of(self.encoder, self._texts(start))]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        arrays: dict[str, Array] = {
            TOKENS: (np.float16, (int(offsets[-1]), self.encoder.width)),
            POOLED: (np.float32, (self.count, self.encoder.pooled_width)),
        }
        self.allocate(parts, arrays)
        self.captions.write(parts)
        npy.write_array(parts / OFFSETS, offsets)

    def chunk(self, parts: Path, start: int) -> int:
        texts = self._texts(start)
        rows, pooled = self.encoder.ragged(texts, self.batch)
        offsets = np.load(parts / OFFSETS, allow_pickle=False)[start : start + len(texts) + 1]
        flat = torch.cat(rows).cpu().numpy()  # one copy: each makes a GPU wait
        if len(flat) != offsets[-1] - offsets[0]:
            raise DataError(f"{self.folder}: the text encoder's tokens have changed; delete it and begin again.")
        npy.write_rows(parts / TOKENS, int(offsets[0]), to_float16(flat, self.encoder.name))
        npy.write_rows(parts / POOLED, start, pooled.cpu().numpy())
        return start + len(texts)

    def _texts(self, start: int) -> list[str]:
        return self.captions.texts[start : start + chunks.CHUNK]


def lengths_of(encoder: TextEncoder, texts: Sequence[str]) -> list[int]:
    """The number of stored rows of each text: L if the encoder keeps the output at pads, else its tokens."""
    return [encoder.length] * len(texts) if encoder.padded else encoder.lengths(texts)


def identity_of(encoder: TextEncoder) -> dict[str, Any]:
    """What identifies the embeddings that an encoder computes."""
    names = ("fingerprint", "width", "pooled_width", "length", "precision")
    fields = {name: getattr(encoder, name) for name in names}
    return fields | ({"padded": True} if encoder.padded else {})
