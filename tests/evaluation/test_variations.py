"""All combinations in their order."""

from __future__ import annotations

import pytest

from pinxit.errors import UsageError
from pinxit.evaluation.variations import combinations, evaluations


def test_the_last_setting_varies_fastest() -> None:
    found = combinations({"a": [1, 2], "b": ["x", "y", "z"]}, {"c": 0})
    assert [(one["a"], one["b"]) for one in found] == [(a, b) for a in (1, 2) for b in "xyz"]
    assert all(list(one) == ["a", "b", "c"] and one["c"] == 0 for one in found)


def test_what_is_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="names 2 twice"):
        combinations({"a": [1, 2, 2]}, {})
    with pytest.raises(UsageError, match="leave out --vary a or --set a"):
        combinations({"a": [1, 2]}, {"a": 3})


def test_evaluations_are_known_where_the_sampler_is() -> None:
    assert evaluations("ddim", 25) == 25 and evaluations("heun", 25) == 49
    assert evaluations(None, 25) is None and evaluations("ddim", None) is None
