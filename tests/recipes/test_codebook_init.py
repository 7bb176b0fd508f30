"""Codes that look alike start alike in the transformer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.recipes.dalle.codebook_init import SCALE, init_from_codebook


def started(vectors: Tensor, seed: int = 1, **changes: int | bool) -> TokenTransformer:
    config = TransformerConfig(**{"text_vocab": 50, "text_tokens": 4, "grid": 2, "depth": 1, "heads": 2} | changes)  # type: ignore[arg-type]
    model = TokenTransformer(config)
    init_from_codebook(model, vectors, seed)
    return model


def groups(codes: int = 64, kinds: int = 4, width: int = 24) -> Tensor:
    """Vectors of `codes` codes around a few centres, far from the origin."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(kinds, width, generator=generator)
    return 5 + centres[torch.arange(codes) % kinds] + 0.1 * torch.randn(codes, width, generator=generator)


@pytest.mark.parametrize("dim", [16, 64])
def test_neighbours_stay_neighbours(dim: int) -> None:
    model = started(groups(), dim=dim, image_codes=64)
    kind = torch.arange(64) % 4
    for rows in (model.embed.image, model.image_head):
        assert float(rows.detach().square().mean().sqrt()) == pytest.approx(SCALE, rel=0.05)
        likeness = torch.nn.functional.normalize(rows.detach(), dim=1)
        likeness = (likeness @ likeness.T).fill_diagonal_(-1)
        assert (kind[likeness.argmax(1)] == kind).all()
        assert likeness.max() < 0.999  # but no two are the same
    assert not torch.equal(model.embed.image, model.image_head)


def test_a_start_depends_on_its_seed_alone() -> None:
    one, same, other = (started(groups(), seed, dim=16, image_codes=64).embed.image for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_tied_rows_and_equal_vectors_are_fine() -> None:
    model = started(torch.ones(64, 3), dim=16, image_codes=64, tied=True)
    assert model.embed.image.isfinite().all() and model.embed.image.std() > 0
    assert not model.image_head.numel()
