from __future__ import annotations

from collections import Counter

import numpy as np

from pinxit.text.bpe_dropout import DropSequence, MergeTable

VOCABULARY = {token: i for i, token in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
MERGES = [("a", "b"), ("b", "c"), ("ab", "c")]


def shares(piece: str, p: float, draws: int = 40_000) -> dict[tuple[str, ...], float]:
    table, drops = MergeTable(VOCABULARY, MERGES), DropSequence(p, np.random.default_rng(0))
    tokens = list(VOCABULARY)
    counts = Counter(tuple(tokens[i] for i in table.ids(piece, drops)) for _ in range(draws))
    return {split: count / draws for split, count in counts.items()}


def test_splits_have_the_probabilities_of_algorithm_1() -> None:
    """abc: the first step keeps ab (1-p), else bc (p(1-p)), else stops (p^2); then ab c merges unless dropped."""
    p = 0.3
    expected = {
        ("abc",): (1 - p) * (1 - p),
        ("ab", "c"): (1 - p) * p,
        ("a", "bc"): p * (1 - p),
        ("a", "b", "c"): p * p,
    }
    found = shares("abc", p)
    assert found.keys() == expected.keys()
    for split, share in expected.items():
        assert abs(found[split] - share) < 0.01, split


def test_the_remembered_path_draws_the_same_as_an_empty_memory() -> None:
    """The short cut for pieces without a drop must use up exactly the coins of the long way."""
    remembering, drops = MergeTable(VOCABULARY, MERGES), DropSequence(0.3, np.random.default_rng(5))
    forgetting, same_drops = MergeTable(VOCABULARY, MERGES), DropSequence(0.3, np.random.default_rng(5))
    for piece in ["abc", "bcab", "c", "abcabc"] * 200:
        slow = forgetting._dropped(piece, same_drops)
        assert remembering.ids(piece, drops) == slow
        assert drops.left == same_drops.left


def test_drops_fall_with_their_probability() -> None:
    drops = DropSequence(0.1, np.random.default_rng(0))
    gaps = []
    for _ in range(20_000):
        gaps.append(drops.left)
        drops.draw()
    assert abs(np.mean(gaps) - 9.0) < 0.2  # mean of a geometric count of keeps: (1 - p) / p
