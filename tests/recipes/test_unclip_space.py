"""Coordinates of embeddings: unit variance, there and back, and buckets of equal mass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.vectors import dots, norms, unit
from pinxit.recipes.unclip.space import Kind, Space, SpaceConfig

CONFIG = SpaceConfig(embed=16, components=6, buckets=8, dots=4)


def embeddings(count: int = 500, rank: int = 6) -> Tensor:
    """Unit vectors in a narrow cone that vary in few directions, some of them much more than others."""
    draw = torch.Generator().manual_seed(0)
    middle, frame = torch.randn(16, generator=draw), torch.linalg.qr(torch.randn(16, 16, generator=draw))[0][:rank]
    spread = 0.5 ** torch.arange(rank)
    return unit(middle + torch.randn(count, rank, generator=draw) * spread @ frame)


def fitted(kind: Kind = "whitened", **changes: Any) -> tuple[Space, Tensor, Tensor]:
    z = embeddings()
    all_of_them: dict[str, Any] = {"components": 16} if kind == "standard" else {}
    config = replace(CONFIG, kind=kind, **all_of_them | changes)
    cosines = dots(z, unit(z + 0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1))))
    return Space.fit(config, z, cosines), z, cosines


@pytest.mark.parametrize("kind", ["whitened", "scaled", "standard"])
def test_coordinates_have_unit_variance_where_embeddings_have_next_to_none(kind: Kind) -> None:
    space, z, _ = fitted(kind)
    y = space.encode(z)
    assert z.var(0).mean() < 0.06 and y.mean(0).abs().max() < 1e-3
    assert y.var(0).mean().item() == pytest.approx(1, abs=1e-3)
    apart = y.var(0).max() / y.var(0).min()
    assert apart > 100 if kind == "scaled" else apart < 1.01
    if kind == "whitened":
        torch.testing.assert_close(y.T @ y / (len(y) - 1), torch.eye(6), atol=1e-3, rtol=0)
    if kind == "scaled":
        distance, seen = torch.cdist(z, z), torch.cdist(y, y)
        assert (seen / distance.clamp(min=1e-3)).median().item() == pytest.approx(space.gain[0].item(), rel=0.02)


@pytest.mark.parametrize("kind", ["whitened", "scaled", "standard"])
def test_there_and_back(kind: Kind) -> None:
    space, z, _ = fitted(kind)
    back = space.decode(space.encode(z))
    torch.testing.assert_close(norms(back), torch.ones(len(z), 1))
    assert dots(back, z).min() > (0.99999 if kind == "standard" else 0.98)
    torch.testing.assert_close(space.decode(torch.zeros(1, space.config.components)), unit(space.mean[None]))


def test_karlos_takes_embeddings_as_they_are() -> None:
    """Their mean off, divided by their spread, and back again with the length that they had."""
    z = 3 + 2 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    mean, spread = z.mean(0), z.std(0)
    space = Space.standard(mean, spread)
    y = space.encode(z)
    torch.testing.assert_close(y, (z - mean) / spread)
    torch.testing.assert_close(space.decode(y), z)
    assert (space.config.kind, space.config.buckets, space.config.dots) == ("standard", 0, 0)
    assert norms(space.decode(y)).std() > 0.1


def test_the_components_explain_what_is_left_of_the_variance_without_the_rest() -> None:
    space, z, _ = fitted(components=2)
    variances = torch.linalg.svdvals((z - z.mean(0)).double()).square()
    explained = float(variances[:2].sum() / variances.sum())
    assert explained < 0.99 and space.explained_variance(z) == pytest.approx(explained, abs=1e-4)


def test_how_little_embeddings_vary_in_all_is_no_matter() -> None:
    """Only a direction beside the others can be rounding noise."""
    y = Space.fit(replace(CONFIG, buckets=0, dots=0), 1e-5 * embeddings(), torch.zeros(500)).encode(1e-5 * embeddings())
    assert y.var(0).mean().item() == pytest.approx(1, abs=1e-2)


def test_fewer_components_come_less_near() -> None:
    space, z, _ = fitted()
    near = [dots(space.decode(space.encode(z), kept), z).mean().item() for kept in (0, 1, 2, 4, 6)]
    assert near == sorted(near) and near[-1] > 0.999 > near[1] > near[0]
    with pytest.raises(UsageError, match="7 cannot be kept"):
        space.decode(space.encode(z), 7)


def test_codes_come_back_to_where_they_were() -> None:
    errors = []
    for count in (4, 16, 64):
        space, z, _ = fitted(buckets=count)
        y = space.encode(z)
        codes = space.buckets.quantise(y)
        assert int(codes.min()) == 0 and int(codes.max()) == count - 1
        held = torch.stack([(codes == code).sum(0) for code in range(count)])
        assert (held.max() - held.min()) <= 2
        errors.append((space.buckets.values(codes) - y).square().mean().sqrt().item())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_dots_fall_into_buckets_of_equal_mass() -> None:
    space, _, cosines = fitted()
    found = space.dots(cosines)
    assert [int((found == bucket).sum()) for bucket in range(4)] == [125] * 4
    assert cosines[found == 3].min() > cosines[found < 3].max()


def test_it_survives_being_stored() -> None:
    space, z, _ = fitted()
    other = Space(space.config)
    other.load_state_dict(space.state_dict())
    assert torch.equal(other.encode(z), space.encode(z)) and not list(space.parameters())


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UsageError, match=r"vary in 4 directions: set space\.components"):
        z = embeddings(rank=3)
        Space.fit(replace(CONFIG, components=9), z, torch.zeros(500))
    with pytest.raises(UsageError, match="at most 3 components"):
        Space.fit(CONFIG, embeddings()[:4], torch.zeros(4))
    for changes, told in (
        ({"components": 17}, "at most space.embed=16"),
        ({"kind": "standard"}, "set space.components=16"),
        ({"buckets": 1}, "space.buckets must be 0 or at least 2"),
        ({"fitted": 1}, "space.fitted must be at least 2, not 1"),
    ):
        with pytest.raises(UsageError, match=told):
            replace(CONFIG, **changes)
