"""Batches in pieces and on ranks give the loss and the gradients of one pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from pinxit.functional.contrastive import contrastive_loss
from pinxit.training.large_batch import in_pieces, sharded_contrastive_loss
from tests.ranks import forked


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(5, 8)
        self.scale = nn.Parameter(torch.tensor(2.0))


def towers() -> Towers:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Towers()


def rows(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def gradients(model: Towers, loss: Tensor) -> dict[str, Tensor]:
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters())), strict=True))


def loss_of(model: Towers, size: int = 0) -> Tensor:
    image = in_pieces(lambda x: F.normalize(model.image(x), dim=-1), rows(12, 6, 1), size)
    text = in_pieces(lambda x: F.normalize(model.text(x), dim=-1), rows(12, 5, 2), size)
    return contrastive_loss(image, text, model.scale.exp(), GROUPS)


GROUPS = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7, 8, 1, 10, 11])


@pytest.mark.parametrize("size", [1, 5, 12, 40])
def test_pieces_give_the_gradients_of_one_pass(size: int) -> None:
    model = towers()
    whole, parts = loss_of(model), loss_of(model, size)
    torch.testing.assert_close(parts, whole)
    expected = gradients(model, whole)
    for name, found in gradients(model, parts).items():
        torch.testing.assert_close(found, expected[name], atol=1e-6, rtol=1e-5)


def test_pieces_remember_one_piece_at_a_time() -> None:
    """The tower sees every piece twice and never more rows than a piece has."""
    seen: list[int] = []

    def tower(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x * x

    x = rows(10, 4, 0).requires_grad_()
    in_pieces(tower, x, 4).sum().backward()  # type: ignore[no-untyped-call]
    assert sorted(seen) == [2, 2, 4, 4, 4, 4]
    assert x.grad is not None and torch.allclose(x.grad, 2 * x.detach())


def work(rank: int, folder: Path, grouped: bool) -> None:
    model, mine = towers(), slice(rank * 4, rank * 4 + 4)
    image = F.normalize(model.image(rows(12, 6, 1)[mine]), dim=-1)
    text = F.normalize(model.text(rows(12, 5, 2)[mine]), dim=-1)
    loss = sharded_contrastive_loss(image, text, model.scale.exp(), GROUPS[mine] if grouped else None)
    told = gradients(model, loss) | {"loss": loss.detach().clone()}
    for tensor in told.values():
        distributed.all_reduce(tensor)
        tensor /= 3
    if rank == 0:
        torch.save(told, folder / "told.pt")


@pytest.mark.parametrize("grouped", [False, True])
def test_three_ranks_give_the_gradients_of_one(tmp_path: Path, grouped: bool) -> None:
    forked(3, work, tmp_path, grouped)
    told = torch.load(tmp_path / "told.pt", weights_only=True)
    model = towers()
    image, text = F.normalize(model.image(rows(12, 6, 1)), dim=-1), F.normalize(model.text(rows(12, 5, 2)), dim=-1)
    loss = contrastive_loss(image, text, model.scale.exp(), GROUPS if grouped else None)
    torch.testing.assert_close(told["loss"], loss.detach())
    for name, expected in gradients(model, loss).items():
        torch.testing.assert_close(told[name], expected, atol=1e-6, rtol=1e-4)


def test_one_rank_alone_needs_no_group() -> None:
    image, text = F.normalize(rows(6, 8, 0), dim=-1), F.normalize(rows(6, 8, 1), dim=-1)
    torch.testing.assert_close(sharded_contrastive_loss(image, text, 3.0), contrastive_loss(image, text, 3.0))
