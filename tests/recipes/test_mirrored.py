"""Which neighbours in a world's ranking bank are mirror images."""

from __future__ import annotations

from typing import Any

import pytest

from pinxit.errors import UsageError
from pinxit.recipes.clip.mirrored import mirrored_pairs
from tests.recipes.memory_bank import MemoryBank, noise


def scene(relation: str, *names: str, pattern: str = "position", **told: Any) -> dict[str, Any]:
    plain = {"colour": "red", "size": None, "form": "cube"}
    items = [plain | told | {"name": name} for name in names]
    return {"pattern": pattern, "relations": [{"name": relation}], "items": items}


def bank(*facts: dict[str, Any] | None) -> Any:
    return MemoryBank(noise(len(facts), 4), facts=facts)


BASE = scene("left of", "cat", "dog")


def test_the_same_things_with_their_places_exchanged() -> None:
    others = (
        scene("right of", "cat", "fox"),  # another thing
        scene("above", "cat", "dog"),  # another relation
        scene("right of", "cat", "dog", colour="blue"),  # another colour
        scene("right of", "cat", "dog"),
    )
    assert mirrored_pairs(bank(BASE, *others, BASE, *others), 10, 5).tolist() == [[0, 4], [5, 9]]
    assert mirrored_pairs(bank(BASE, *others, BASE, *others), 9, 5).tolist() == [[0, 4]], "groups are whole"
    for other in others[:3]:
        with pytest.raises(UsageError, match="no scenes beside their mirror images"):
            mirrored_pairs(bank(BASE, other), 2, 2)
    with pytest.raises(UsageError, match="no scenes beside their mirror images"):
        mirrored_pairs(bank(scene("left of", "cat", "dog", pattern="pair"), others[3]), 2, 2)
