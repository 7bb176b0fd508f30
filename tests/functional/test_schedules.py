"""The cosine schedule: its ends, its middle, its slope. The paper's own values: tests/recipes/test_dalle_paper.py."""

from __future__ import annotations

import pytest

from pinxit.functional.schedules import cosine


def test_cosine_meets_its_ends_flat_and_its_middle_halfway() -> None:
    assert [cosine(s, 1, 3, 8) for s in (-1, 0, 4, 8, 80)] == pytest.approx([1, 1, 2, 3, 3])
    assert cosine(1, 0, 1, 100) < 0.01 / 10  # a tenth of a line's slope at most
    assert cosine(2, 0, 1, 8) + cosine(6, 0, 1, 8) == pytest.approx(1)
    assert cosine(5, 1, 2, 0) == 2  # nothing to anneal over
