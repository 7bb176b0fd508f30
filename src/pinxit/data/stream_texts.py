"""The embeddings of a stream's captions, computed beforehand by a frozen text encoder ("reader") into sidecars.

Shapes: T texts of a shard, the empty one first; B rows, L positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from pinxit.data.chunks import CaptionTable
from pinxit.data.embeddings_builder import identity_of, lengths_of
from pinxit.data.open_sidecars import OpenSidecars, sidecars_of
from pinxit.data.sidecars import check_sidecar, read_metadata
from pinxit.data.streams import Stream
from pinxit.data.writing_systems import RULES, Script
from pinxit.errors import DataError
from pinxit.weights.tensor_parts import TensorParts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pinxit.text.encoders import TextEncoder
    from pinxit.types import Picture

KIND, AT_ONCE = "text", 32
TOGETHER = 2**25  # numbers (128 MiB in float32) of the embeddings in memory at a time, unless one text has more


class TextRowEncoder:
    """A frozen text encoder as a `RowEncoder` of `encode_shards`: encodes every distinct caption of a shard once."""

    kind, size = KIND, 0

    def __init__(self, reader: TextEncoder, script: Script = "all", at_once: int = AT_ONCE) -> None:
        self.reader, self.script, self.at_once = reader, script, at_once
        self.about: Mapping[str, Any] = identity_of(reader) | {"script": RULES[script]}

    def of(
        self, pictures: Iterable[Picture | None], captions: Sequence[tuple[str, ...]]
    ) -> Mapping[str, Tensor | TensorParts]:
        """The tensors of a sidecar, laid out as in `data.embeddings_builder`.

        `tokens` float16 [tokens of all texts, D], and `offsets` int64 [T + 1], where each text's begin;
        `starts` int64 [N + 1], where each item's captions begin in `places`, which has the text of each. Making the
        tokens raises DataError for values beyond the range of float16.
        """
        table = CaptionTable.of(captions, None, 0, self.script)
        lengths = lengths_of(self.reader, table.texts)
        tokens = TensorParts((sum(lengths), self.reader.width), torch.float16, self._tokens(table.texts, lengths))
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        also = {"starts": torch.from_numpy(table.starts), "places": torch.from_numpy(table.places)}
        return {"tokens": tokens, "offsets": offsets, **also}

    def _tokens(self, texts: Sequence[str], lengths: Sequence[int]) -> Iterator[Tensor]:
        """The embeddings of texts of these lengths, float16 [tokens, D], for some texts at a time."""
        first = 0
        while first < len(texts):
            end, numbers = first + 1, lengths[first] * self.reader.width
            while end < len(texts) and numbers + lengths[end] * self.reader.width <= TOGETHER:
                numbers += lengths[end] * self.reader.width
                end += 1
            rows, _ = self.reader.ragged(texts[first:end], self.at_once)
            if [len(row) for row in rows] != lengths[first:end]:
                raise DataError(f"{self.reader.name} gives other tokens than it counts: they cannot be stored.")
            tokens = torch.cat([row.cpu().half() for row in rows])
            if not tokens.isfinite().all():
                raise DataError(f"{self.reader.name} gives numbers beyond the range of float16: they cannot be stored.")
            del rows
            yield tokens
            first = end


@dataclass(frozen=True, eq=False)
class _OpenSidecar:
    """An opened sidecar."""

    tokens: Callable[[int, int], Tensor]
    offsets: Tensor
    starts: Tensor
    places: Tensor


@dataclass(frozen=True, eq=False)
class StreamTexts:
    """The embeddings of a stream's captions, with methods of `data.embeddings.Embeddings`, which holds a bank's."""

    length: int  # L
    width: int  # D
    sidecars: OpenSidecars[_OpenSidecar]

    @classmethod
    def open(cls, stream: Stream, folder: Path, reader: TextEncoder, script: Script = "all") -> StreamTexts:
        """Raises DataError if a sidecar is missing, damaged, or of another text encoder or shard."""
        about = dict(TextRowEncoder(reader, script).about)
        for place, digest in sidecars_of(stream, folder, KIND):
            found = read_metadata(place)
            found["about"].pop("precision", None)  # may differ, as in `Embeddings.require`
            wanted = {"about": {k: v for k, v in about.items() if k != "precision"}, "shard": digest}
            if any(found.get(name) != value for name, value in wanted.items()):
                check_sidecar(place, wanted)
        return cls(reader.length, reader.width, OpenSidecars(stream, folder, KIND, _opened))

    def count(self, index: int) -> int:
        """The number of stored captions of item `index`."""
        side, row = self.sidecars.of(index)
        return int(side.starts[row + 1] - side.starts[row])

    def rows(self, indices: Sequence[int], which: Sequence[int], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings float32 [B, L, D], padded with zeros, and their mask, bool [B, L]: see `Embeddings.rows`."""
        parts = [self._tokens(index, one) for index, one in zip(indices, which, strict=True)]
        most = length or self.length
        sequence, mask = torch.zeros(len(parts), most, self.width), torch.zeros(len(parts), most, dtype=torch.bool)
        for row, part in enumerate(parts):
            kept = part[:most]
            sequence[row, : len(kept)], mask[row, : len(kept)] = kept, True
        return sequence, mask

    def _tokens(self, index: int, which: int) -> Tensor:
        side, row = self.sidecars.of(index)
        first, count = int(side.starts[row]), int(side.starts[row + 1] - side.starts[row])
        number = int(side.places[first + which % count]) if which >= 0 else 0
        return side.tokens(int(side.offsets[number]), int(side.offsets[number + 1])).float()


def _opened(place: Path) -> _OpenSidecar:
    def tokens(start: int, end: int) -> Tensor:
        with safe_open(place, framework="pt") as file:
            found: Tensor = file.get_slice("tokens")[start:end]
        return found

    with safe_open(place, framework="pt") as file:
        offsets, starts, places = (file.get_tensor(name) for name in ("offsets", "starts", "places"))
    assert np.all(np.diff(offsets.numpy()) >= 0)
    return _OpenSidecar(tokens, offsets, starts, places)
