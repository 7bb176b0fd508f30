"""Damages of an upsampler's smaller picture: kernels by hand, and each picture by itself."""

from __future__ import annotations

import math

import torch

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
