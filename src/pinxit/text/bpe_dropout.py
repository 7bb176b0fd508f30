"""BPE dropout with a seed (Provilkov et al. 2020, "BPE-Dropout", algorithm 1; DALL-E section 2.2).

At every step each applicable merge is dropped with probability p and the best of the rest is applied; a word is done
when none is left. The tokenizers library draws from a hidden random state, which is why this is implemented here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CACHED_PIECES = 200_000
_NEVER = 1 << 62
_BLOCK = 4096  # geometric numbers drawn at a time


class DropSequence:
    """A sequence of independent coins that say "drop" with probability `p`, stored as the distance to the next drop."""

    def __init__(self, p: float, rng: np.random.Generator) -> None:
        self.left = 0  # coins that say "keep" before the next drop
        self._p = p
        self._rng = rng
        self._gaps: list[int] = []
        self.draw()

    def draw(self) -> None:
        """After a drop: draw how many coins say "keep" before the next one (geometric distribution)."""
        if not self._gaps:
            self._gaps = (self._rng.geometric(self._p, _BLOCK) - 1).tolist()
        self.left = self._gaps.pop()


class MergeTable:
    """The merges of a byte-level BPE by rank, and the ids of its single symbols."""

    def __init__(self, vocabulary: Mapping[str, int], merges: Iterable[Sequence[str]]) -> None:
        self._ids = vocabulary
        self._width = max(vocabulary.values(), default=0) + 1
        self._merges: dict[int, tuple[int, int]] = {}  # pair of ids -> (rank, merged id)
        for rank, (left, right) in enumerate(merges):
            pair = vocabulary[left] * self._width + vocabulary[right]
            self._merges[pair] = (rank, vocabulary[left + right])
        self._cache: dict[str, tuple[list[int], int]] = {}  # piece -> (ids without dropout, coins tossed for it)

    def ids(self, piece: str, drops: DropSequence) -> list[int]:
        """Token ids of one pre-tokenized piece (byte-level characters) under dropout."""
        cached = self._cache.get(piece)
        if cached is None:
            cached = self._plain(piece)
            if len(self._cache) < CACHED_PIECES:
                self._cache[piece] = cached
        ids, coins = cached
        if drops.left >= coins:  # none of the coins says "drop"
            drops.left -= coins
            return ids
        return self._dropped(piece, drops)

    def _plain(self, piece: str) -> tuple[list[int], int]:
        keep = _NoDrops()
        ids = self._merge([self._ids[symbol] for symbol in piece], keep)
        return ids, _NEVER - keep.left

    def _dropped(self, piece: str, drops: DropSequence) -> list[int]:
        return self._merge([self._ids[symbol] for symbol in piece], drops)

    def _merge(self, ids: list[int], drops: DropSequence | _NoDrops) -> list[int]:
        """Algorithm 1. Only merges better than the best one kept so far need a coin: others cannot be chosen."""
        merges, width = self._merges, self._width
        while True:
            best, at, merged = _NEVER, -1, 0
            for place in range(len(ids) - 1):
                candidate = merges.get(ids[place] * width + ids[place + 1])
                if candidate is not None and candidate[0] < best:
                    if drops.left:
                        drops.left -= 1
                        best, merged = candidate
                        at = place
                    else:
                        drops.draw()
            if at < 0:
                return ids
            ids[at : at + 2] = (merged,)


class _NoDrops:
    """Coins that never say "drop"."""

    def __init__(self) -> None:
        self.left = _NEVER

    def draw(self) -> None:
        raise AssertionError("the coins cannot run out")
