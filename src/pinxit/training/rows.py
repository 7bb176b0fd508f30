"""Which pictures of training a piece of work is about: rows of an update, wherever it is cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows `start` to `start + count` of the update that begins when `first` pictures have been seen.

    What a task makes of rows obeys one law: made of them all it is what is made of parts of them, put together. So it
    does not matter into how many pieces, or among how many ranks, an update is cut.
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
        """The place of each row among all pictures ever seen, int64 [count]."""
        return np.arange(self.position, self.position + self.count)

    @property
    def span(self) -> slice:
        """Where these rows stand in what is made for the whole update."""
        return slice(self.start, self.start + self.count)

    def cut(self, count: int) -> Iterator[Rows]:
        """These rows in pieces of `count`, which must divide them."""
        assert count > 0 and self.count % count == 0, "the plan is checked"
        for start in range(self.start, self.start + self.count, count):
            yield Rows(self.first, self.batch, start, count)


def whole(first: int, batch: int) -> Rows:
    """All rows of the update of `batch` pictures that begins when `first` have been seen."""
    return Rows(first, batch, 0, batch)
