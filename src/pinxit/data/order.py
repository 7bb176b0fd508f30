"""The order of training data: a keyed permutation for every epoch, computed and never stored.

`order(position, length, seed)` is the index of the item seen at `position`, so the whole state of data loading is one
number, images seen. Each epoch is a Feistel network over pairs (row, column) of a grid a little larger than the data;
it is applied again while the result lies outside the data (cycle walking: Black and Rogaway 2002, "Ciphers with
arbitrary finite domains", section 4).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pinxit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

ROUNDS = 6  # of the Feistel network


def order(position: int, length: int, seed: int, group: int = 1) -> int:
    """The index in [0, length) of the item at `position` of the endless sequence; see `order_batch`."""
    return int(order_batch(position, 1, length, seed, group)[0])


def order_batch(position: int, count: int, length: int, seed: int, group: int = 1) -> NDArray[np.int64]:
    """Indices int64 [count] of the items at positions `position`, `position + 1`, ... of the endless sequence.

    Every `length` positions are one epoch and hold each index exactly once; the permutation depends on the seed
    and the epoch. With `group` g, runs of g consecutive items (0..g-1, g..2g-1, ...) stay together and in order; a
    shorter last run comes at the end of every epoch. Raises UsageError for numbers out of range.
    """
    if length < 1 or group < 1:
        raise UsageError(f"an order needs at least one item and groups of at least one, not {length} and {group}.")
    if position < 0 or count < 0:
        raise UsageError(f"positions count from 0, not {position} with {count} items.")
    positions = np.arange(position, position + count, dtype=np.uint64)
    epochs, places = np.divmod(positions, np.uint64(length))
    keys = mix(mix(np.full(count, int(seed) % 2**64, dtype=np.uint64)) ^ epochs)
    runs = length // group
    if runs == 0:
        return places.astype(np.int64)
    slots, offsets = np.divmod(places, np.uint64(group))
    whole = slots < np.uint64(runs)  # the others are in the shorter last run, which stays at the end
    slots[whole] = _permute(slots[whole], runs, keys[whole])
    return (slots * np.uint64(group) + offsets).astype(np.int64)


def _permute(values: Words, length: int, keys: Words) -> Words:
    """A bijection of [0, length) for each key, applied to `values` [N] with `keys` [N]."""
    rows = math.isqrt(length - 1) + 1
    columns = -(-length // rows)
    result = _feistel(values, rows, columns, keys)
    outside = np.flatnonzero(result >= np.uint64(length))
    while outside.size:
        result[outside] = _feistel(result[outside], rows, columns, keys[outside])
        outside = outside[result[outside] >= np.uint64(length)]
    return result


def _feistel(values: Words, rows: int, columns: int, keys: Words) -> Words:
    """A bijection of [0, rows * columns): row and column are shifted in turn by a keyed hash of the other."""
    row, column = np.divmod(values, np.uint64(columns))
    for turn in range(ROUNDS):
        key = keys + np.uint64(2 * turn)
        row = (row + mix(mix(column + key) ^ keys)) % np.uint64(rows)
        column = (column + mix(mix(row + key + np.uint64(1)) ^ keys)) % np.uint64(columns)
    return row * np.uint64(columns) + column


def mix(words: Words) -> Words:
    """A bijective hash of 64-bit words: one output of SplitMix64 (Steele, Lea and Flood 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
