"""The codes of a stream's pictures, computed beforehand by a frozen dVAE and stored in sidecars of its shards.

Shapes: B pictures, of h x w codes each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import load_file

from pinxit.data.open_sidecars import OpenSidecars, sidecars_of
from pinxit.data.sidecars import check_sidecar, read_metadata
from pinxit.data.stream_order import Rows
from pinxit.data.streams import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray


KIND = "dvae"


@dataclass(frozen=True, eq=False)
class StreamCodes:
    """The codes of a stream's pictures, indexed like an array [N, h, w]."""

    stream: Stream
    sidecars: OpenSidecars[NDArray[np.int32]]

    @classmethod
    def open(cls, stream: Stream, folder: Path, dvae: str) -> StreamCodes:
        """`dvae`: its fingerprint. Raises DataError if a sidecar is missing, damaged, or of another dVAE or shard."""
        for place, digest in sidecars_of(stream, folder, KIND):
            about = read_metadata(place).get("about", {})
            check_sidecar(place, {"kind": KIND, "about": about | {"fingerprint": dvae}, "shard": digest})
        return cls(stream, OpenSidecars(stream, folder, KIND, _codes))

    def __len__(self) -> int:
        return len(self.stream)

    def order(self, rows: Rows, seed: int) -> NDArray[np.int64]:
        """The items of these rows of an update, int64 [count]."""
        return self.stream.order(rows, seed)

    def __getitem__(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint16]:
        """uint16 [B, h, w]; for a broken picture, the codes of its replacement."""
        found = [codes[row] for codes, row in (self.sidecars.of(int(index)) for index in indices)]
        return (np.stack(found) if found else self.sidecars.of(0)[0][:0]).astype(np.uint16)


def _codes(place: Path) -> NDArray[np.int32]:
    """Memory-mapped: many sidecars are open at a time, and each holds the codes of thousands of pictures."""
    codes: NDArray[np.int32] = load_file(place)["codes"].numpy()
    return codes
