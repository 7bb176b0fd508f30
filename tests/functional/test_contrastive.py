"""The symmetric loss against closed forms, its slices, and equal captions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from pinxit.functional.contrastive import contrastive_loss, shared_targets, side_loss


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize(("n", "scale"), [(2, 1.0), (5, 1 / 0.07), (16, 100.0)])
def test_identical_orthogonal_pairs_have_a_closed_form(n: int, scale: float) -> None:
    """Cosine 1 with the partner, 0 with n - 1 others: -log(e^s / (e^s + n - 1))."""
    loss = contrastive_loss(torch.eye(n), torch.eye(n), scale)
    assert loss.item() == pytest.approx(math.log1p((n - 1) * math.exp(-scale)), abs=1e-6)


def test_uninformative_embeddings_cost_log_n() -> None:
    same = F.normalize(torch.ones(7, 4), dim=1)
    assert contrastive_loss(same, same, 20.0).item() == pytest.approx(math.log(7), abs=1e-5)


def test_is_symmetric_and_ignores_the_order_of_pairs() -> None:
    image, text = unit(6, 8, 0), unit(6, 8, 1)
    loss = contrastive_loss(image, text, 5.0)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(loss, contrastive_loss(text, image, 5.0))
    torch.testing.assert_close(loss, contrastive_loss(image[order], text[order], 5.0))


def test_slices_add_up_to_the_whole_forward_and_backward() -> None:
    whole = (unit(10, 8, 0).requires_grad_(), unit(10, 8, 1).requires_grad_())
    parts = (whole[0].detach().clone().requires_grad_(), whole[1].detach().clone().requires_grad_())
    loss = contrastive_loss(*whole, 9.0)
    loss.backward()  # type: ignore[no-untyped-call]
    total = 0.0
    for start, stop in ((0, 4), (4, 7), (7, 10)):
        to_text = side_loss(parts[0][start:stop], parts[1], 9.0, offset=start)
        to_image = side_loss(parts[1][start:stop], parts[0], 9.0, offset=start)
        part = (to_text + to_image) / 2 * (stop - start) / 10
        part.backward()  # type: ignore[no-untyped-call]
        total += part.item()
    assert total == pytest.approx(loss.item(), abs=1e-6)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-4)


def test_equal_captions_share_the_target() -> None:
    groups = torch.tensor([4, 9, 4, 1])
    targets = shared_targets(groups, groups)
    torch.testing.assert_close(
        targets, torch.tensor([[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1.0]])
    )
    # Two pictures of one caption, both embedded perfectly: the plain loss pulls at them, the shared one rests.
    points = torch.eye(3)[[0, 1, 0, 2]].requires_grad_()
    loss = contrastive_loss(points, points.detach(), 100.0, groups_B=groups)
    loss.backward()  # type: ignore[no-untyped-call]
    assert points.grad is not None and points.grad.abs().max() < 1e-4
    assert loss.item() == pytest.approx(math.log(2) / 2, abs=1e-5)
    distinct = contrastive_loss(unit(4, 8, 0), unit(4, 8, 1), 5.0, groups_B=torch.arange(4))
    torch.testing.assert_close(distinct, contrastive_loss(unit(4, 8, 0), unit(4, 8, 1), 5.0))


def test_logits_have_32_bits_under_autocast() -> None:
    """A scale of 100 makes the last digit of a cosine in 16 bits half a logit, and its loss another."""
    rows, columns = (unit(64, 32, seed) for seed in (2, 3))
    expected = side_loss(rows, columns, 100.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(side_loss(rows, columns, 100.0), expected)
    halved = side_loss(rows.bfloat16(), columns.bfloat16(), 100.0)
    torch.testing.assert_close(halved, side_loss(rows.bfloat16().float(), columns.bfloat16().float(), 100.0))
