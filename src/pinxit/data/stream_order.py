"""The order of training data from tar shards: shuffled, yet with few shards open at a time, and never stored.

Every epoch the shards are permuted and dealt out to C streams (as cards to players). A stream reads its shards in
windows of W, and shuffles the items of each window. Row i of a batch of B pictures belongs to stream i * C // B. So
the order is a function of the seed alone, is the same on any number of ranks, and if that number divides C, every rank
reads shards of its own. Each item is read exactly once in an epoch of its stream.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pinxit.data.order import order_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]

STREAMS, WINDOW = 16, 4  # the most streams; shards of a window


class Rows(Protocol):
    """Rows `start` to `start + count` of the batch that begins when `first` pictures have been seen.

    The part of `training.rows.Rows` that is needed here, which a lower package cannot import.
    """

    @property
    def first(self) -> int: ...

    @property
    def batch(self) -> int: ...

    @property
    def start(self) -> int: ...

    @property
    def count(self) -> int: ...


def streams_for(batch: int, shards: int) -> int:
    """The number of streams C: the largest that divides `batch`, at most STREAMS and the number of shards."""
    return max(n for n in range(1, min(STREAMS, batch, shards) + 1) if batch % n == 0)


@dataclass(frozen=True, eq=False)
class StreamOrder:
    """The order of items in shards, at least one of which is not empty."""

    counts: tuple[int, ...]  # items of each shard
    seed: int
    streams: int  # C
    window: int = WINDOW  # W
    _begins: dict[int, list[int]] = field(default_factory=dict, repr=False)  # positions where a stream's epochs begin
    _lock: Any = field(default_factory=Lock, repr=False)

    def indices(self, rows: Rows) -> Indices:
        """The item of each row, int64 [count]; items are numbered through all shards in order."""
        each, update = rows.batch // self.streams, rows.first // rows.batch
        found: list[Indices] = []
        place, end = rows.start, rows.start + rows.count
        while place < end:
            stream, offset = divmod(place, each)
            count = min(each - offset, end - place)
            found += self._taken(stream, update * each + offset, count)
            place += count
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def nearby_shards(self, rows: Rows) -> tuple[list[int], list[int]]:
        """The shards of the windows that these rows' streams are in, and those of the windows that come next.

        The latter by their places in the windows, so that each stream's first comes before any one's second.
        """
        update, current, later = rows.first // rows.batch, list[int](), list[list[int]]()
        each = rows.batch // self.streams
        for stream in self.of(rows):
            epoch, before = self._epoch(stream, update * each)
            number = int(np.searchsorted(_bounds(self, stream, epoch), update * each - before, side="right"))
            coming = _shards_of(self, stream, epoch)[number * self.window :]
            if len(coming) < 2 * self.window:
                coming = coming + _shards_of(self, stream, epoch + 1)[: self.window]
            current += coming[: self.window]
            later.append(coming[self.window : 2 * self.window])
        return current, [shard for shards in zip_longest(*later) for shard in shards if shard is not None]

    def of(self, rows: Rows) -> range:
        """The streams that these rows belong to."""
        each = rows.batch // self.streams
        return range(rows.start // each, -(-(rows.start + rows.count) // each))

    def _taken(self, stream: int, position: int, count: int) -> Iterator[Indices]:
        """Items `position` to `position + count` of a stream, which never ends, in parts of one window each."""
        epoch, before = self._epoch(stream, position)
        while count:
            bounds = _bounds(self, stream, epoch)
            number = int(np.searchsorted(bounds, position - before, side="right"))
            if number == len(bounds):
                before, epoch = before + _size(self, stream, epoch), epoch + 1
                continue
            offset = position - before - (int(bounds[number - 1]) if number else 0)
            part = _window(self, stream, epoch, number)[offset : offset + count]
            position, count = position + len(part), count - len(part)
            yield part

    def _epoch(self, stream: int, position: int) -> tuple[int, int]:
        """The epoch of a stream that `position` is in, and the number of items before that epoch."""
        with self._lock:
            begins = self._begins.setdefault(stream, [0])
            while begins[-1] <= position:
                begins.append(begins[-1] + _size(self, stream, len(begins) - 1))
            epoch = bisect_right(begins, position) - 1
            return epoch, begins[epoch]


@lru_cache(maxsize=256)
def _shards_of(stream_order: StreamOrder, stream: int, epoch: int) -> list[int]:
    """The shards of a stream in an epoch, in their order."""
    count = len(stream_order.counts)
    permuted = order_batch(epoch * count, count, count, _keyed(stream_order.seed))
    return [int(shard) for shard in permuted[stream :: stream_order.streams]]


def _size(stream_order: StreamOrder, stream: int, epoch: int) -> int:
    """The number of items in an epoch of a stream."""
    return sum(stream_order.counts[shard] for shard in _shards_of(stream_order, stream, epoch))


@lru_cache(maxsize=256)
def _bounds(stream_order: StreamOrder, stream: int, epoch: int) -> Indices:
    """Where each window of a stream's epoch ends, in items from the beginning of the epoch."""
    dealt, wide = _shards_of(stream_order, stream, epoch), stream_order.window
    windows = (dealt[place : place + wide] for place in range(0, len(dealt), wide))
    return np.cumsum([sum(stream_order.counts[shard] for shard in window) for window in windows])


@lru_cache(maxsize=128)
def _window(stream_order: StreamOrder, stream: int, epoch: int, number: int) -> Indices:
    """The items of a window, shuffled."""
    shards = _shards_of(stream_order, stream, epoch)[number * stream_order.window : (number + 1) * stream_order.window]
    ends = _ends(stream_order)
    items = np.concatenate([np.arange(ends[shard] - stream_order.counts[shard], ends[shard]) for shard in shards])
    return items[order_batch(0, len(items), len(items), _keyed(stream_order.seed, stream, epoch, number))]


@lru_cache(maxsize=8)
def _ends(stream_order: StreamOrder) -> Indices:
    return np.cumsum(stream_order.counts)


def _keyed(*words: int) -> int:
    digest = hashlib.blake2b("/".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
