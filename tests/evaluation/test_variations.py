"""All combinations in their order, and what no painter can be given refused before it paints."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pinxit.errors import UsageError
from pinxit.evaluation.variations import check, combinations, evaluations

PAINTER = {"guidance": 4.0, "steps": 25, "sampler": "ddim"}
UPSAMPLER = {"augmentation": 0.2, "upsampler_steps": 10, "upsampler_guidance": 1.0}


def test_the_last_setting_varies_fastest() -> None:
    found = combinations({"a": [1, 2], "b": ["x", "y", "z"]}, {"c": 0})
    assert [(one["a"], one["b"]) for one in found] == [(a, b) for a in (1, 2) for b in "xyz"]
    assert all(list(one) == ["a", "b", "c"] and one["c"] == 0 for one in found)


def test_what_is_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="names 2 twice"):
        combinations({"a": [1, 2, 2]}, {})
    with pytest.raises(UsageError, match="leave out --vary a or --set a"):
        combinations({"a": [1, 2]}, {"a": 3})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"magic": 1}, "there is no setting 'magic' here: choose from guidance, steps, sampler."),
        ({"augmentation": 0.1}, "augmentation is a setting of the upsampler: only `eval sweep --upscale` enlarges"),
        ({"guidance": "much"}, "guidance takes a number, such as 4.0, not much."),
        ({"guidance": math.nan}, "guidance takes a number"),
        ({"guidance": True}, "guidance takes a number"),
        ({"guidance": None}, "guidance takes a number"),
        ({"steps": 2.5}, "steps takes a whole number, such as 25, not 2.5."),
        ({"sampler": 3}, "sampler takes a word, such as ddim, not 3."),
    ],
)
def test_a_wrong_setting_is_one_sentence(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        check([{"guidance": 1}, settings], PAINTER, None)
    assert told in str(refused.value)


def test_the_upsamplers_settings_are_known_beside_the_painters() -> None:
    with pytest.raises(UsageError, match=r"upsampler_guidance\.$"):
        check([{"magic": 1}], PAINTER, UPSAMPLER)
    with pytest.raises(UsageError, match="upsampler_steps takes a whole number"):
        check([{"upsampler_steps": 2.5}], PAINTER, UPSAMPLER)


def test_what_can_be_painted_passes() -> None:
    check(combinations({"guidance": [1, 2.5], "sampler": ["heun"]}, {"steps": 3}), PAINTER, None)
    check([{"augmentation": 0, "upsampler_steps": 4}], PAINTER, UPSAMPLER)


def test_evaluations_are_known_where_the_sampler_is() -> None:
    assert evaluations("ddim", 25) == 25 and evaluations("heun", 25) == 49
    assert evaluations(None, 25) is None and evaluations("ddim", None) is None
