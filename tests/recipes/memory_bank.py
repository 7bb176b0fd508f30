"""A bank in memory: rows that can be told apart, with captions that say nothing of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit.data.order import order_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pinxit.data.stream_order import Rows

SAID = ("a red square", "two blue stars")


class MemoryBank:
    """What tasks ask of a `Bank`."""

    folder = Path("shelf")

    def __init__(
        self,
        pictures: NDArray[np.uint8],
        captions: Sequence[Sequence[str]] | None = None,
        facts: Sequence[dict[str, Any] | None] | None = None,
    ) -> None:
        self.pictures = pictures
        self.captions = captions or [SAID] * len(pictures)
        self.held_out = 0
        self._facts = facts or [{"label": "ab"[row % 2]} for row in range(len(pictures))]

    def __len__(self) -> int:
        return len(self.pictures)

    def holding_out(self, count: int) -> MemoryBank:
        found = MemoryBank(self.pictures, self.captions, self._facts)
        found.held_out = count
        return found

    def order(self, rows: Rows, seed: int) -> NDArray[np.int64]:
        return order_batch(rows.first + rows.start, rows.count, len(self) - self.held_out, seed)

    def facts(self, row: int) -> dict[str, Any] | None:
        return self._facts[row]


def noise(count: int, side: int) -> NDArray[np.uint8]:
    """Pictures none of which is another's."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
