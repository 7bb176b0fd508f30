"""Ways between embeddings, against trigonometry by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pinxit.errors import UsageError
from pinxit.functional.vectors import dots, norms, shifted, slerp, text_diff, unit


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_both_ends_are_exact_and_the_middle_halves_the_angle() -> None:
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    torch.testing.assert_close(slerp(a, b, 0.0), a, atol=1e-6, rtol=0)
    torch.testing.assert_close(slerp(a, b, 1.0), b, atol=1e-6, rtol=0)
    third = slerp(a, b, 1 / 3)
    length = 2 + 2 / 3
    told = [[length * math.cos(math.pi / 6), length * math.sin(math.pi / 6)]]
    torch.testing.assert_close(third, torch.tensor(told))


def test_unit_vectors_stay_units_and_angles_grow_evenly() -> None:
    a, b = unit(rows(5, 32)), unit(rows(5, 32, seed=1))
    whole = dots(a, b).arccos()
    for share in (0.1, 0.25, 0.8):
        found = slerp(a, b, share)
        torch.testing.assert_close(norms(found), torch.ones(5, 1, dtype=torch.float64))
        torch.testing.assert_close(dots(a, found).arccos(), share * whole)


def test_each_row_has_its_own_share_whatever_its_shape() -> None:
    a, b = rows(3, 2, 4, 4), rows(3, 2, 4, 4, seed=1)
    found = slerp(a, b, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(found[0], a[0])
    torch.testing.assert_close(found[2], b[2])
    torch.testing.assert_close(found[1], slerp(a[1].reshape(1, -1), b[1].reshape(1, -1), 0.5).view(2, 4, 4))


def test_where_there_is_no_great_circle_the_way_is_straight() -> None:
    a = unit(rows(1, 8))
    torch.testing.assert_close(slerp(a, 3 * a, 0.5), 2 * a)
    assert not slerp(a, -a, 0.5).abs().max() > 1e-12
    assert torch.equal(slerp(torch.zeros(1, 8), torch.ones(1, 8), 0.25), torch.full((1, 8), 0.25))
    assert not unit(torch.zeros(2, 3)).any()
    many = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
    for other in (3 * many, -many):  # whose cosines are 1 but for rounding
        torch.testing.assert_close(slerp(many, other, 0.25), torch.lerp(many, other, 0.25), atol=1e-4, rtol=0)


def test_a_text_diff_is_a_direction_and_turns_a_picture_without_making_it_longer() -> None:
    z, after, before = 3 * unit(rows(4, 16)), unit(rows(4, 16, seed=1)), unit(rows(4, 16, seed=2))
    way = text_diff(after, before)
    torch.testing.assert_close(way * norms(after - before), after - before)
    torch.testing.assert_close(shifted(z, after, before, 0.0), z)
    torch.testing.assert_close(shifted(z, after, before, 1.0), 3 * way)
    quarter = shifted(z, after, before, 0.25)
    torch.testing.assert_close(norms(quarter), torch.full((4, 1), 3.0, dtype=torch.float64))
    torch.testing.assert_close(dots(unit(quarter), unit(z)).arccos(), 0.25 * dots(unit(z), way).arccos())
    with pytest.raises(UsageError, match="same embedding"):
        text_diff(after, after)
