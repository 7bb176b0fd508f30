"""Random draws that are the same on every machine and every Python version.

Only `random.Random.random` is promised never to change for a given seed, so everything is made of it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A stream of draws named by a key: equal keys give equal streams."""

    def __init__(self, *key: str | int) -> None:
        digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=8).digest()
        self.unit = random.Random(int.from_bytes(digest, "big")).random  # uniform in [0, 1)

    def below(self, count: int) -> int:
        """A whole number from 0 to count - 1."""
        return int(self.unit() * count)

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included; `low` when the range is empty."""
        return low + int(self.unit() * (high - low + 1)) if high > low else low

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[int(self.unit() * len(items))]

    def weighted(self, table: Sequence[tuple[T, float]]) -> T:
        """One of the first members, in proportion to the second ones."""
        rest = self.unit() * sum(weight for _, weight in table)
        for item, weight in table:
            rest -= weight
            if rest < 0:
                return item
        return table[-1][0]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order (Fisher-Yates)."""
        result = list(items)
        for last in range(len(result) - 1, 0, -1):
            other = int(self.unit() * (last + 1))
            result[last], result[other] = result[other], result[last]
        return result
