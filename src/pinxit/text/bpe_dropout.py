"""BPE dropout with a seed (Provilkov et al. 2020, "BPE-Dropout", algorithm 1; DALL-E section 2.2).

At every step each merge that could be applied is dropped with probability p and the best survivor is applied; the
word is done when none survives. The tokenizers library draws from a hidden random state, so this one is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CACHED_PIECES = 200_000
_NEVER = 1 << 62
_BLOCK = 4096  # gaps drawn at a time


class Drops:
    """Independent coins that fall on "drop" with probability `p`, counted as the coins left until the next drop."""

    def __init__(self, p: float, rng: np.random.Generator) -> None:
        self.left = 0  # coins that are certain to keep
        self._p = p
        self._rng = rng
        self._gaps: list[int] = []
        self.draw()

    def draw(self) -> None:
        """A drop has happened: draw how many coins keep before the next one (geometric)."""
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
        self._cache: dict[str, tuple[list[int], int]] = {}  # piece -> (ids without dropout, coins that path tosses)

    def ids(self, piece: str, drops: Drops) -> list[int]:
        """Token ids of one pre-tokenized piece (byte-level characters) under dropout."""
        cached = self._cache.get(piece)
        if cached is None:
            cached = self._plain(piece)
            if len(self._cache) < CACHED_PIECES:
                self._cache[piece] = cached
        ids, coins = cached
        if drops.left >= coins:  # no coin of the undisturbed path falls on "drop"
            drops.left -= coins
            return ids
        return self._dropped(piece, drops)

    def _plain(self, piece: str) -> tuple[list[int], int]:
        keep = _AllKept()
        ids = self._merge([self._ids[symbol] for symbol in piece], keep)
        return ids, _NEVER - keep.left

    def _dropped(self, piece: str, drops: Drops) -> list[int]:
        return self._merge([self._ids[symbol] for symbol in piece], drops)

    def _merge(self, ids: list[int], drops: Drops | _AllKept) -> list[int]:
        """Algorithm 1. Only a merge better than the best survivor so far needs a coin: others cannot be chosen."""
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


class _AllKept:
    """Coins that never fall on "drop"."""

    def __init__(self) -> None:
        self.left = _NEVER

    def draw(self) -> None:
        raise AssertionError("the coins cannot run out")
