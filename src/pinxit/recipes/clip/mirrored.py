"""Pairs of scenes that differ only in where things are: the same two things, with their places exchanged.

Only by the relation in the caption can CLIP tell such a pair apart, so that it has to learn relations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit.errors import UsageError
from pinxit.world.plan import INVERSE

if TYPE_CHECKING:
    from pinxit.data.bank import Bank

PATTERN = "position"  # scenes whose captions say what is beside, above or below what


def mirrored_pairs(bank: Bank, count: int, group: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Rows (base, mirror image) [P, 2] among the first `count` of a bank of groups of neighbouring scenes.

    Raises UsageError when there are none.
    """
    pairs = [pair for start in range(0, count - group + 1, group) if (pair := _pair(bank, start, group)) is not None]
    if not pairs:
        raise UsageError(f"{bank.folder} holds no scenes beside their mirror images: set noise.mirrored=0.")
    return np.array(pairs, dtype=np.int64)


def _pair(bank: Bank, start: int, group: int) -> tuple[int, int] | None:
    base = bank.facts(start)
    if base is None or base.get("pattern") != PATTERN:
        return None
    for row in range(start + 1, start + group):
        other = bank.facts(row)
        if other is not None and _relation(other) == INVERSE.get(_relation(base)) and _things(other) == _things(base):
            return start, row
    return None


def _relation(facts: dict[str, Any]) -> Any:
    return facts["relations"][0]["name"] if facts["relations"] else None


def _things(facts: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [tuple(item[fact] for fact in ("name", "colour", "size", "form")) for item in facts["items"]]
