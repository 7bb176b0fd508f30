"""The pictures of a stream as a frozen dVAE's codes: sidecars of its shards.

Shapes: B rows, h w codes of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import load_file

from pinxit.data.deal import Rows
from pinxit.data.open_sidecars import OpenSidecars, sidecars_of
from pinxit.data.sidecars import compare, told
from pinxit.data.streams import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray


KIND = "dvae"


@dataclass(frozen=True, eq=False)
class StreamCodes:
    """The codes of a stream's items, indexed as an array of them is."""

    stream: Stream
    sidecars: OpenSidecars[NDArray[np.int32]]

    @classmethod
    def open(cls, stream: Stream, folder: Path, dvae: str) -> StreamCodes:
        """Raises DataError where a sidecar is missing, damaged, or of another dVAE (its fingerprint) or shard."""
        for place, digest in sidecars_of(stream, folder, KIND):
            about = told(place).get("about", {})
            compare(place, {"kind": KIND, "about": about | {"fingerprint": dvae}, "shard": digest})
        return cls(stream, OpenSidecars(stream, folder, KIND, _codes))

    def __len__(self) -> int:
        return len(self.stream)

    def order(self, rows: Rows, seed: int) -> NDArray[np.int64]:
        """Which items the rows of an update are."""
        return self.stream.order(rows, seed)

    def __getitem__(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint16]:
        """uint16 [B, h, w]; in place of a broken picture's those of the one that stands in for it."""
        found = (self.sidecars.of(int(index)) for index in indices)
        return np.stack([codes[row] for codes, row in found]).astype(np.uint16)


def _codes(place: Path) -> NDArray[np.int32]:
    """Mapped, not read: a window's shards are open at a time, and each holds the codes of thousands of pictures."""
    codes: NDArray[np.int32] = load_file(place)["codes"].numpy()
    return codes
