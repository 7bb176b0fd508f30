"""A stream as a CLIP sees it: sidecars of its shards. Shapes: B rows, E width."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pinxit.data.deal import Rows
from pinxit.data.sidecars import compare, name_of, told
from pinxit.data.streams import Stream
from pinxit.data.vectors import identity_of
from pinxit.data.writing_systems import Script, readable
from pinxit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pinxit.data.vectors import ImageTextEncoder

KIND, OPEN = "clip", 64


@dataclass(frozen=True, eq=False)
class StreamVectors:
    """The embeddings of a stream's items, as `data.vectors.Vectors` has them of a bank's.

    Caption j of item i is the same one here and in `StreamTexts`: of those in a script, each once.
    """

    stream: Stream
    folder: Path
    script: Script
    nothing: Tensor  # the empty caption's, [E]
    _open: OrderedDict[int, dict[str, Tensor]] = field(default_factory=OrderedDict, repr=False)
    _lock: Any = field(default_factory=Lock, repr=False)

    @classmethod
    def open(cls, stream: Stream, folder: Path, clip: ImageTextEncoder, script: Script = "all") -> StreamVectors:
        """Raises DataError where a sidecar is missing, damaged, or of another CLIP or shard."""
        for shard in stream.manifest["shards"]:
            place = folder / name_of(shard["url"], KIND)
            if not place.is_file():
                raise DataError(f"there is no {place}: encode the shards with --with clip.")
            if told(place).get("shard") != shard["digest"] or told(place).get("about") != identity_of(clip):
                compare(place, {"kind": KIND, "about": identity_of(clip), "shard": shard["digest"]})
        return cls(stream, folder, script, torch.from_numpy(clip.texts([""])[0]).float())

    def __len__(self) -> int:
        return len(self.stream)

    def order(self, rows: Rows, seed: int) -> NDArray[Any]:
        """Which items the rows of an update are."""
        return self.stream.order(rows, seed)

    def count(self, index: int) -> int:
        """How many captions of item `index` are here, at least 1."""
        return len(self._texts(index))

    def text(self, index: int, which: int) -> str:
        """Caption `which` of item `index`; -1: the empty one."""
        texts = self._texts(index)
        return texts[which % len(texts)] if which >= 0 else ""

    def image_embeddings(self, indices: Sequence[int]) -> Tensor:
        """The embeddings of pictures, float32 [B, E]."""
        found = (self._side(index) for index in indices)
        return torch.stack([side["pictures"][row] for side, row in found]).float()

    def text_embeddings(self, indices: Sequence[int], which: Sequence[int]) -> Tensor:
        """The embeddings of captions, float32 [B, E]: `which[b]` (modulo how many; -1: the empty one) of each."""
        return torch.stack([self._said(index, one) for index, one in zip(indices, which, strict=True)])

    def _said(self, index: int, which: int) -> Tensor:
        if which < 0:
            return self.nothing
        side, row = self._side(index)
        number = list(self.stream.captions[index]).index(self.text(index, which))
        return side["captions"][int(side["starts"][row]) + number].float()

    def _texts(self, index: int) -> list[str]:
        return list(dict.fromkeys(readable(self.stream.captions[index], self.script)))

    def _side(self, index: int) -> tuple[dict[str, Tensor], int]:
        """The sidecar of an item, or of the sound one that stands in for it, and its row there."""
        shard, row = self.stream.place(self.stream.standing(index))
        with self._lock:
            if shard not in self._open:
                self._open[shard] = load_file(self.folder / name_of(self.stream.manifest["shards"][shard]["url"], KIND))
                while len(self._open) > OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            return self._open[shard], row
