"""The CLIP embeddings of a stream's pictures and captions, from sidecars of its shards. Shapes: B rows, E width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pinxit.data.open_sidecars import OpenSidecars, sidecars_of
from pinxit.data.sidecars import check_sidecar
from pinxit.data.stream_order import Rows
from pinxit.data.streams import Stream
from pinxit.data.vectors import identity_of
from pinxit.data.writing_systems import Script, captions_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pinxit.data.vectors import ImageTextEncoder

KIND = "clip"


@dataclass(frozen=True, eq=False)
class StreamVectors:
    """The CLIP embeddings of a stream, with methods of `data.vectors.Vectors`, which holds a bank's.

    Caption j of item i is the same here and in `StreamTexts`: both have the distinct captions in `script`, in order.
    """

    stream: Stream
    script: Script
    nothing: Tensor  # the embedding of the empty caption, [E]
    sidecars: OpenSidecars[dict[str, Tensor]]

    @classmethod
    def open(cls, stream: Stream, folder: Path, clip: ImageTextEncoder, script: Script = "all") -> StreamVectors:
        """Raises DataError if a sidecar is missing, damaged, or of another CLIP or shard."""
        for place, digest in sidecars_of(stream, folder, KIND):
            check_sidecar(place, {"kind": KIND, "about": identity_of(clip), "shard": digest})
        nothing = torch.from_numpy(clip.texts([""])[0]).float()
        return cls(stream, script, nothing, OpenSidecars(stream, folder, KIND, load_file))

    def __len__(self) -> int:
        return len(self.stream)

    def order(self, rows: Rows, seed: int) -> NDArray[Any]:
        """The items of these rows of an update, int64 [count]."""
        return self.stream.order(rows, seed)

    def count(self, index: int) -> int:
        """The number of captions of item `index`, at least 1."""
        return len(self._texts(index))

    def text(self, index: int, which: int) -> str:
        """Caption `which` of item `index`; -1: the empty one."""
        texts = self._texts(index)
        return texts[which % len(texts)] if which >= 0 else ""

    def image_embeddings(self, indices: Sequence[int]) -> Tensor:
        """The embeddings of pictures, float32 [B, E]."""
        found = torch.empty(len(indices), len(self.nothing))
        for place, index in enumerate(indices):
            side, row = self.sidecars.of(index)
            found[place] = side["pictures"][row]
        return found

    def text_embeddings(self, indices: Sequence[int], which: Sequence[int]) -> Tensor:
        """The embeddings of captions, float32 [B, E]: caption `which[b]` (modulo their number; -1: the empty one)."""
        found = torch.empty(len(indices), len(self.nothing))
        for place, (index, one) in enumerate(zip(indices, which, strict=True)):
            found[place] = self._text_embedding(index, one)
        return found

    def _text_embedding(self, index: int, which: int) -> Tensor:
        if which < 0:
            return self.nothing
        side, row = self.sidecars.of(index)
        number = list(self.stream.captions[index]).index(self.text(index, which))
        return side["captions"][int(side["starts"][row]) + number].float()

    def _texts(self, index: int) -> list[str]:
        return list(dict.fromkeys(captions_in(self.stream.captions[index], self.script)))
