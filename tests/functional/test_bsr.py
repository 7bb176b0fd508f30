"""Damages of an upsampler's smaller picture: kernels by hand, and each picture by itself."""

from __future__ import annotations

import math

import pytest
import torch

from pinxit.functional import bsr
from pinxit.functional.bsr import degraded, gaussian_blur


def pictures(count: int = 3, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_a_point_becomes_the_kernel() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    near, far = math.exp(-0.5 / 0.6**2), math.exp(-1 / 0.6**2)
    total = 1 + 4 * near + 4 * far
    row = [[far / total, near / total, far / total], [near / total, 1 / total, near / total]]
    found = gaussian_blur(x)[0, 0]
    torch.testing.assert_close(found[1:3, 1:4], torch.tensor(row))
    assert not found[0].any() and not found[:, 4].any()
    torch.testing.assert_close(gaussian_blur(torch.full((1, 3, 8, 8), 0.3)), torch.full((1, 3, 8, 8), 0.3))


def test_a_blur_of_no_width_changes_nothing() -> None:
    x = pictures()
    torch.testing.assert_close(gaussian_blur(x, 0.05), x)


def test_degradations_keep_the_picture_and_differ_with_the_draw() -> None:
    x = torch.nn.functional.interpolate(pictures(8, 4), (32, 32), mode="bilinear")
    for seed in range(12):
        found = degraded(x, torch.Generator().manual_seed(seed))
        again = degraded(x, torch.Generator().manual_seed(seed))
        assert torch.equal(found, again) and found.shape == x.shape
        assert found.min() >= 0 and found.max() <= 1
        assert 1e-4 < (found - x).abs().mean() < 0.2
    other = degraded(x, torch.Generator().manual_seed(99))
    assert not torch.equal(other, found)


def test_no_picture_sees_another() -> None:
    x = pictures(4, 16)
    changed = x.clone()
    changed[2] = 0.5
    for seed in range(6):
        a, b = (degraded(value, torch.Generator().manual_seed(seed)) for value in (x, changed))
        assert torch.equal(a[[0, 1, 3]], b[[0, 1, 3]])


def test_strengths_are_drawn_evenly_from_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4000 pictures: as wide as the range says, with the mean and the spread of an even draw."""
    met: dict[str, torch.Tensor] = {}

    def blurred(x: torch.Tensor, *given: object) -> torch.Tensor:
        met.update(zip(("along", "across", "turn"), given, strict=False))  # type: ignore[arg-type]
        return x

    def noted(name: str, place: int) -> None:
        monkeypatch.setattr(bsr, name, lambda x, *given: (met.update({name: given[place]}), x)[1])

    monkeypatch.setattr(bsr, "_blurred", blurred)
    noted("noisy", 0)
    noted("quantised", 0)
    monkeypatch.setattr(bsr, "_resized", lambda x, generator: x)
    degraded(torch.zeros(4000, 1, 8, 8), torch.Generator().manual_seed(5))
    ends = {"along": (0.05 * bsr.WIDEST, bsr.WIDEST), "turn": (0, math.pi), "noisy": (0, bsr.NOISIEST)}
    ends |= {"across": ends["along"], "quantised": (0, bsr.ROUGHEST)}
    assert met.keys() == ends.keys()
    for name, (low, high) in ends.items():
        drawn = met[name].flatten()
        assert low <= drawn.min() and drawn.max() <= high and len(drawn) == 4000, name
        assert abs(drawn.mean() - (low + high) / 2) < 0.03 * (high - low), name
        assert abs(drawn.std() - (high - low) / math.sqrt(12)) < 0.03 * (high - low), name
    assert not torch.equal(met["along"], met["across"])
