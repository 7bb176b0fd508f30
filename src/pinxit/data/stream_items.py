"""The pictures and the captions of a stream as sequences, whose items are read when they are indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pinxit.types import Example, Picture


class Items(Protocol):
    """The part of `data.streams.Stream` that is needed here; `size` is the side of its pictures in pixels."""

    @property
    def size(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


@dataclass(frozen=True)
class Pictures:
    """The pictures of a stream, like an array uint8 [N, S, S, 3], by a number, numbers or a slice."""

    stream: Items

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.stream), self.stream.size, self.stream.size, 3)

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        if isinstance(index, slice):
            return self._stacked(range(*index.indices(len(self))))
        chosen = np.asarray(index)
        return self._one(int(chosen)) if chosen.ndim == 0 else self._stacked(chosen.tolist())

    def _one(self, index: int) -> Picture:
        return self.stream[index + len(self) if index < 0 else index].picture

    def _stacked(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        found = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for row, index in enumerate(indices):
            found[row] = self._one(index)
        return found


@dataclass(frozen=True)
class StreamCaptions(Sequence[tuple[str, ...]]):
    """The captions of a stream, like a sequence of tuples."""

    stream: Items

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.stream[one].captions for one in range(*index.indices(len(self)))]
        return self.stream[index + len(self) if index < 0 else index].captions
