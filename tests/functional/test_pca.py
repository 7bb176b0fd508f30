"""Principal components and buckets of data whose answer is known."""

from __future__ import annotations

import pytest
import torch

from pinxit.errors import UsageError
from pinxit.functional.pca import fit_buckets, fit_pca


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def axes(width: int, seed: int = 3) -> torch.Tensor:
    frame: torch.Tensor = torch.linalg.qr(draws(width, width, seed=seed))[0]
    return frame


def test_directions_and_variances_of_a_known_frame() -> None:
    """Coordinates made exactly uncorrelated, so that sample and truth agree to the last digits."""
    coordinates = draws(500, 6)
    coordinates = torch.linalg.qr(coordinates - coordinates.mean(0))[0] * (499**0.5)
    spread = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64)
    frame, middle = axes(6), draws(6, seed=4)
    found = fit_pca(middle + (coordinates * spread) @ frame, 4)
    torch.testing.assert_close(found.mean, middle)
    torch.testing.assert_close(found.variance, spread[:4] ** 2)
    torch.testing.assert_close((found.basis @ frame.T).abs(), torch.eye(4, 6, dtype=torch.float64), atol=1e-9, rtol=0)
    assert (found.basis.gather(1, found.basis.abs().argmax(1, keepdim=True)) > 0).all()


def test_what_the_first_components_leave_is_the_variance_of_the_others() -> None:
    x = draws(400, 8) * torch.arange(8, 0, -1, dtype=torch.float64) @ axes(8)
    full = fit_pca(x, 8)
    torch.testing.assert_close(full.reconstruct(full.project(x)), x)
    for kept in (0, 3, 7):
        left = (full.reconstruct(full.project(x), kept) - x).square().sum(1).sum() / 399
        torch.testing.assert_close(left, full.variance[kept:].sum())
        if kept:
            fewer = fit_pca(x, kept)
            torch.testing.assert_close(fewer.reconstruct(fewer.project(x)), full.reconstruct(full.project(x), kept))


def test_buckets_hold_equal_shares_and_stand_for_their_mean() -> None:
    y = torch.stack([torch.arange(12.0), -(torch.arange(12.0) ** 2)], 1)[torch.randperm(12)].double()
    found = fit_buckets(y, 3)
    codes = found.quantise(y)
    assert [int((codes[:, 0] == k).sum()) for k in range(3)] == [4, 4, 4]
    torch.testing.assert_close(found.centres[0], torch.tensor([1.5, 5.5, 9.5], dtype=torch.float64))
    assert torch.equal(
        found.values(torch.tensor([[0, 2]])), torch.stack([found.centres[0, 0], found.centres[1, 2]])[None]
    )
    far = torch.tensor([[-1e9, 1e9]], dtype=torch.float64)
    assert found.quantise(far).tolist() == [[0, 2]]
    for code in range(3):
        inside = y[codes[:, 1] == code, 1]
        torch.testing.assert_close(found.centres[1, code], inside.mean())


def test_the_round_trip_errs_less_the_more_buckets_there_are() -> None:
    """Of an even distribution on [0, 1): a bucket's width over the square root of twelve."""
    y = (torch.arange(4096, dtype=torch.float64)[:, None] + 0.5) / 4096
    for count in (4, 16, 64):
        found = fit_buckets(y, count)
        error = (found.values(found.quantise(y)) - y).square().mean().sqrt()
        assert error.item() == pytest.approx(1 / count / 12**0.5, rel=0.01)


def test_more_buckets_than_samples_are_finite_and_ordered() -> None:
    y = draws(5, 2)
    found = fit_buckets(y, 16)
    assert found.centres.isfinite().all() and (found.centres.diff(dim=1) >= 0).all()
    assert (found.values(found.quantise(y)) - y).abs().max() < 0.5


def test_what_cannot_be_fitted_is_refused() -> None:
    x = draws(4, 8)
    for count in (0, 4):
        with pytest.raises(UsageError, match="at most 3 components"):
            fit_pca(x, count)
    with pytest.raises(UsageError, match="9 cannot be kept"):
        fit_pca(draws(20, 8), 8).reconstruct(x, 9)
    with pytest.raises(UsageError, match="at least 2 buckets"):
        fit_buckets(x, 1)
