"""Guidance and thresholding: straight lines, order statistics, and what stays within [-1, 1]."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.diffusion import q_sample, target, x0_from
from pinxit.functional.guidance import (
    Thresholding,
    dynamic_threshold,
    guide,
    row_quantile,
    static_threshold,
    threshold,
)
from tests.functional.helpers import eps_from_x0

quick = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0.01, 1.0)


def pictures(seed: int, scale: float = 1.0, count: int = 4) -> Tensor:
    """[count, 3, 5, 4], each wider than the one before."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 5, 4, generator=generator) * scale * torch.arange(1, count + 1)[:, None, None, None]


@quick
@given(seeds, st.floats(0, 10))
def test_guidance_is_a_straight_line(seed: int, scale: float) -> None:
    c, u = pictures(seed), pictures(seed + 1)
    torch.testing.assert_close(guide(c, u, scale), u + scale * (c - u), atol=1e-4, rtol=1e-5)


def test_guidance_of_one_is_the_identity_to_the_bit() -> None:
    c, u = pictures(0, 9.0), pictures(1)
    assert torch.equal(guide(c, u, 1.0), c)
    assert torch.equal(guide(c, u, 0.0), u)


@pytest.mark.parametrize("kind", ["eps", "v"])
def test_guiding_noise_or_v_is_guiding_pictures(kind: str) -> None:
    """Imagen's equation is of eps; a machine that knows only x0 does the same."""
    sigma, scale = 1.7, 6.0
    x_t = q_sample(pictures(0).double(), pictures(1).double(), sigma)
    c, u = pictures(2).double(), pictures(3).double()
    noises = [eps_from_x0(x_t, x0, sigma) for x0 in (c, u)]
    if kind == "eps":
        guided = x0_from("eps", guide(noises[0], noises[1], scale), x_t, sigma)
    else:
        told = [target("v", x0, noise, sigma) for x0, noise in zip((c, u), noises, strict=True)]
        guided = x0_from("v", guide(told[0], told[1], scale), x_t, sigma)
    torch.testing.assert_close(guided, guide(c, u, scale))


@quick
@given(seeds, st.floats(0, 1))
def test_quantiles_equal_torchs(seed: int, q: float) -> None:
    x = pictures(seed)
    expected = torch.quantile(
        x.flatten(1).double(), q, dim=1
    )  # in single precision it misplaces them between two values
    torch.testing.assert_close(row_quantile(x, q).flatten().double(), expected, atol=1e-6, rtol=1e-5)


@quick
@given(seeds, shares, st.floats(0.1, 5))
def test_dynamic_thresholding_keeps_pictures_within_bounds(seed: int, percentile: float, scale: float) -> None:
    found = dynamic_threshold(pictures(seed, scale), percentile)
    assert found.abs().max() <= 1


@quick
@given(seeds, shares)
def test_the_divisor_is_never_below_one(seed: int, percentile: float) -> None:
    """What lies within [-1, 1] already comes back to the bit, however little of it there is."""
    inside = pictures(seed).clamp(-1, 1) * 0.3
    assert torch.equal(dynamic_threshold(inside, percentile), inside)


def test_dynamic_thresholding_by_hand() -> None:
    x0 = torch.linspace(-3, 3, 61).view(1, 1, 61)  # |x0| is 0, then 0.1 .. 3 twice each
    found = dynamic_threshold(x0, 0.8)  # the value at place 0.8 * 60 = 48 of them: 2.4
    torch.testing.assert_close(found, x0.clamp(-2.4, 2.4) / 2.4)
    torch.testing.assert_close(dynamic_threshold(x0, 0.8, 1.5), x0.clamp(-1.5, 1.5) / 1.5)


@quick
@given(seeds, shares, st.floats(0.1, 5))
def test_a_bound_of_one_makes_it_static(seed: int, percentile: float, scale: float) -> None:
    x0 = pictures(seed, scale)
    assert torch.equal(dynamic_threshold(x0, percentile, 1.0), static_threshold(x0))
    assert torch.equal(threshold(x0, Thresholding.of(percentile, 1.5)), dynamic_threshold(x0, percentile, 1.5))
    assert torch.equal(threshold(x0, Thresholding.of(0.0)), x0.clamp(-1, 1))


@pytest.mark.parametrize("shape", [(2, 4), (2, 1, 2, 2)])
def test_every_kind_of_thresholding_by_hand(shape: tuple[int, ...]) -> None:
    """Of vectors as of pictures: each row by itself, its own largest value being what dynamic divides by."""
    x0 = torch.tensor([[3.0, -7.0, 0.5, 1.0], [-0.5, 0.25, 0.0, 0.125]]).view(shape)
    expected = {
        Thresholding("none"): x0,
        Thresholding(): torch.tensor([[1.0, -1.0, 0.5, 1.0], [-0.5, 0.25, 0.0, 0.125]]),
        Thresholding("clip", 5.0): torch.tensor([[3.0, -5.0, 0.5, 1.0], [-0.5, 0.25, 0.0, 0.125]]),
        Thresholding("dynamic", percentile=1.0): torch.tensor(
            [[3 / 7, -1.0, 0.5 / 7, 1 / 7], [-0.5, 0.25, 0.0, 0.125]]
        ),
        Thresholding("dynamic", percentile=1.0, max_threshold=2.0): torch.tensor(
            [[1.0, -1, 0.25, 0.5], [-0.5, 0.25, 0.0, 0.125]]
        ),
    }
    for about, values in expected.items():
        torch.testing.assert_close(threshold(x0, about), values.view(shape), atol=0, rtol=1e-6)


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"kind": "soft"}, "no thresholding 'soft'; choose from none, clip, dynamic"),
        ({"limit": 0.0}, "must be above 0 and finite, not 0"),
        ({"kind": "dynamic", "percentile": 1.5}, "percentile=1.5 must be above 0 and at most 1"),
        ({"kind": "dynamic", "max_threshold": 0.5}, "max_threshold=0.5 at least 1"),
    ],
)
def test_thresholding_that_cannot_be_is_refused(about: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Thresholding(**about)


@pytest.mark.parametrize(("percentile", "max_threshold"), [(0.95, 1.5), (0.95, 1.0), (0.995, 100.0), (0.3, 2.0)])
def test_dynamic_thresholding_equals_diffusers(percentile: float, max_threshold: float) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(
        thresholding=True, dynamic_thresholding_ratio=percentile, sample_max_value=max_threshold
    )
    x0 = pictures(3, 0.6)
    torch.testing.assert_close(dynamic_threshold(x0, percentile, max_threshold), scheduler._threshold_sample(x0))


def test_samples_do_not_see_each_other() -> None:
    c, u = pictures(1), pictures(2)
    thresholded, guided = dynamic_threshold(c, 0.9), guide(c, u, 5.0)
    for row in range(4):
        one = slice(row, row + 1)
        torch.testing.assert_close(thresholded[one], dynamic_threshold(c[one], 0.9))
        torch.testing.assert_close(guided[one], guide(c[one], u[one], 5.0))
