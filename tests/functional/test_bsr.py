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
        assert given[3] == 7
        return x

    def noted(name: str, place: int) -> None:
        monkeypatch.setattr(bsr, name, lambda x, *given: (met.update({name: given[place]}), x)[1])

    monkeypatch.setattr(bsr, "_blurred", blurred)
    noted("noisy", 0)
    noted("quantised", 0)
    monkeypatch.setattr(bsr, "_resized", lambda x, generator: x)
    degraded(torch.zeros(4000, 1, 8, 8), torch.Generator().manual_seed(5))
    ends = {"along": (0.1, 2.0), "turn": (0, math.pi), "noisy": (0, 25 / 255)}
    ends |= {"across": ends["along"], "quantised": (0, 0.4)}
    assert met.keys() == ends.keys()
    for name, (low, high) in ends.items():
        drawn = met[name].flatten()
        assert low <= drawn.min() and drawn.max() <= high and len(drawn) == 4000, name
        assert abs(drawn.mean() - (low + high) / 2) < 0.03 * (high - low), name
        assert abs(drawn.std() - (high - low) / math.sqrt(12)) < 0.03 * (high - low), name
    assert not torch.equal(met["along"], met["across"])


def test_a_blur_is_long_in_the_direction_it_is_turned_to() -> None:
    """Of one pixel: along a row, down a column, and from the upper left to the lower right."""
    x = torch.zeros(3, 1, 9, 9)
    x[:, :, 4, 4] = 1
    along, across, turn = torch.full((3,), 3.0), torch.full((3,), 0.2), torch.tensor([0, math.pi / 2, math.pi / 4])
    row, column, diagonal = bsr._blurred(x, along, across, turn, 7)[:, 0]
    weights = torch.exp(-(torch.arange(-3.0, 4) ** 2) / 18)
    torch.testing.assert_close(row[4, 1:8], weights / weights.sum(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(column, row.T)
    assert diagonal[3, 3] > 0.1 and diagonal[6, 6] > 0.1 and diagonal[3, 5] < 1e-4
    assert (row[4].sum() - row.sum()).abs() < 1e-4 and row.sum().item() == pytest.approx(1)


def test_resizing_is_from_half_to_half_as_large_again_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[int], dict[str, object]]] = []
    plain = torch.nn.functional.interpolate

    def noting(x: torch.Tensor, size: list[int], **how: object) -> torch.Tensor:
        asked.append((list(size), how))
        return plain(x, size, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "interpolate", noting)
    x, generator = pictures(1, 40)[..., :24], torch.Generator().manual_seed(1)
    for _ in range(200):
        assert bsr._resized(x, generator).shape == x.shape
    sizes = [size for size, _ in asked[::2]]
    assert all(size == [40, 24] for size, _ in asked[1::2])
    assert all(how == {"mode": "bicubic", "antialias": True, "align_corners": False} for _, how in asked)
    assert min(sizes) in ([20, 12], [21, 12]) and max(sizes) in ([60, 36], [59, 36], [59, 35])
    assert sum(high for high, _ in sizes) / 200 == pytest.approx(40, abs=2.5)
