from __future__ import annotations

import pytest
import torch

from pinxit.weights.tensor_files import not_finite

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("kind", FLOATS, ids=str)
@pytest.mark.parametrize("place", [0, 70, -1])
def test_one_value_that_is_not_finite_is_found_wherever_it_stands(kind: torch.dtype, place: int) -> None:
    sound = {"empty": torch.zeros(0), "whole": torch.ones(3, dtype=torch.int64), "net": torch.ones(10, 15).to(kind)}
    assert not_finite(sound) is None
    for value in (float("nan"), float("inf"), -float("inf"))[
        : 1 if kind == torch.float8_e4m3fn else 3
    ]:  # it has NaN only
        wrong = torch.ones(150)
        wrong[place] = value
        assert not_finite(sound | {"odd": wrong.view(10, 15).to(kind)}) == "odd"
