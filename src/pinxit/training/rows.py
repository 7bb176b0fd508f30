"""Which pictures of a run a batch or micro-batch is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows `start` to `start + count` of the batch of the update that begins when `first` pictures have been seen.

    Whatever a task computes for rows must be the same when it is computed for some of them at a time and concatenated.
    So it does not matter into how many micro-batches, or among how many ranks, a batch is split.
    """

    first: int  # pictures seen when the update begins
    batch: int  # pictures of the whole update
    start: int
    count: int

    @property
    def position(self) -> int:
        """Pictures seen before the first of these."""
        return self.first + self.start

    @property
    def positions(self) -> NDArray[np.int64]:
        """Of each row, the number of pictures seen before it in the run, int64 [count]."""
        return np.arange(self.position, self.position + self.count)

    @property
    def span(self) -> slice:
        """Where these rows are in a tensor of the whole batch."""
        return slice(self.start, self.start + self.count)

    def cut(self, count: int) -> Iterator[Rows]:
        """These rows in parts of `count` (such as micro-batches), which must divide their number."""
        assert count > 0 and self.count % count == 0, "the plan is checked"
        for start in range(self.start, self.start + self.count, count):
            yield Rows(self.first, self.batch, start, count)


def all_rows(first: int, batch: int) -> Rows:
    """All rows of the update of `batch` pictures that begins when `first` have been seen."""
    return Rows(first, batch, 0, batch)
