"""The pictures of a stream as a frozen dVAE's codes: sidecars of its shards.

Shapes: B rows, h w codes of a picture.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

from pinxit.data.deal import Rows
from pinxit.data.sidecars import compare, name_of, told
from pinxit.data.streams import Stream
from pinxit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


KIND, OPEN = "dvae", 64


@dataclass(frozen=True, eq=False)
class StreamCodes:
    """The codes of a stream's items, indexed as an array of them is."""

    stream: Stream
    folder: Path
    _open: OrderedDict[int, NDArray[np.uint16]] = field(default_factory=OrderedDict, repr=False)
    _lock: Any = field(default_factory=Lock, repr=False)

    @classmethod
    def open(cls, stream: Stream, folder: Path, dvae: str) -> StreamCodes:
        """Raises DataError where a sidecar is missing, damaged, or of another dVAE (its fingerprint) or shard."""
        for shard in stream.manifest["shards"]:
            place = folder / name_of(shard["url"], KIND)
            if not place.is_file():
                raise DataError(f"there is no {place}: encode the shards with --with dvae.")
            about = told(place).get("about", {})
            compare(place, {"kind": KIND, "about": about | {"fingerprint": dvae}, "shard": shard["digest"]})
        return cls(stream, folder)

    def __len__(self) -> int:
        return len(self.stream)

    def order(self, rows: Rows, seed: int) -> NDArray[np.int64]:
        """Which items the rows of an update are."""
        return self.stream.order(rows, seed)

    def __getitem__(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint16]:
        """uint16 [B, h, w]; in place of a broken picture's those of the one that stands in for it."""
        return np.stack([self._codes(int(index)) for index in indices])

    def _codes(self, index: int) -> NDArray[np.uint16]:
        shard, row = self.stream.place(self.stream.standing(index))
        with self._lock:
            if shard not in self._open:
                place = self.folder / name_of(self.stream.manifest["shards"][shard]["url"], KIND)
                with safe_open(place, framework="np") as file:
                    self._open[shard] = file.get_tensor("codes").astype(np.uint16)
                while len(self._open) > OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            codes: NDArray[np.uint16] = self._open[shard][row]
        return codes
