"""Schedules: their ends, their middle, and the paper's three."""

from __future__ import annotations

import pytest

from pinxit.functional.schedules import (
    DVAE_BETA,
    DVAE_LEARNING_RATE,
    DVAE_TEMPERATURE,
    Cosine,
    cosine,
    linear,
    warmup_constant,
    warmup_cosine,
)


def test_linear() -> None:
    assert [linear(s, 2, 4, 10) for s in (-5, 0, 5, 10, 99)] == [2, 2, 3, 4, 4]


def test_cosine_meets_its_ends_flat_and_its_middle_halfway() -> None:
    assert [cosine(s, 1, 3, 8) for s in (-1, 0, 4, 8, 80)] == pytest.approx([1, 1, 2, 3, 3])
    assert cosine(1, 0, 1, 100) < linear(1, 0, 1, 100) / 10
    assert cosine(2, 0, 1, 8) + cosine(6, 0, 1, 8) == pytest.approx(1)
    assert cosine(5, 1, 2, 0) == 2  # nothing to anneal over


def test_warmups() -> None:
    assert [warmup_constant(s, 0.5, 10) for s in (0, 5, 10, 1000)] == [0, 0.25, 0.5, 0.5]
    values = [warmup_cosine(s, 1.0, 0.1, 10, 30) for s in (0, 5, 10, 20, 30, 99)]
    assert values == pytest.approx([0, 0.5, 1.0, 0.55, 0.1, 0.1])


def test_the_papers_schedules() -> None:
    """DALL-E appendix A.2: KL weight over 5,000 updates, temperature over 150,000, learning rate over 1,200,000."""
    assert (DVAE_BETA(0), DVAE_BETA(5_000)) == (0, 6.6)
    assert (DVAE_TEMPERATURE(0), DVAE_TEMPERATURE(150_000)) == (1, 0.0625)
    assert (DVAE_LEARNING_RATE(0), DVAE_LEARNING_RATE(1_200_000)) == pytest.approx((1e-4, 1.25e-6))
    assert Cosine(0, 6.6, 5_000)(2_500) == pytest.approx(3.3)
