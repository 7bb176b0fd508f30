from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pinxit.functional import linear_ce
from pinxit.functional.linear_ce import linear_cross_entropy


@pytest.mark.parametrize("rows", [5, 7, 64])
def test_equals_plain_cross_entropy(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and both gradients, whole slices and broken ones, ignored targets, a factor behind the loss."""
    monkeypatch.setattr(linear_ce, "SLICE", 7)
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 12, generator=generator, dtype=torch.float64).float().requires_grad_()
    weight = torch.randn(9, 12, generator=generator).requires_grad_()
    targets = torch.randint(0, 9, (rows,), generator=generator)
    slow = F.cross_entropy(x @ weight.T, targets, ignore_index=targets[0].item())  # type: ignore[arg-type]
    expected = torch.autograd.grad(3 * slow, (x, weight))
    fast = linear_cross_entropy(x, weight, targets, ignore=int(targets[0]))
    found = torch.autograd.grad(3 * fast, (x, weight))
    assert torch.allclose(fast, slow, rtol=1e-6)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_nothing_to_predict_costs_nothing() -> None:
    x, weight = torch.ones(4, 3, requires_grad=True), torch.ones(5, 3, requires_grad=True)
    loss = linear_cross_entropy(x, weight, torch.zeros(4, dtype=torch.int64), ignore=0)
    assert loss == 0
    assert not any(grad.any() for grad in torch.autograd.grad(loss, (x, weight)))


def test_under_autocast_it_stays_near() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 64, generator=generator).requires_grad_()
    weight = (0.2 * torch.randn(500, 64, generator=generator)).requires_grad_()
    targets = torch.randint(0, 500, (256,), generator=generator)
    slow = F.cross_entropy(x @ weight.T, targets)
    expected = torch.autograd.grad(slow, (x, weight))
    with torch.autocast("cpu", torch.bfloat16):
        fast = linear_cross_entropy(x, weight, targets)
    found = torch.autograd.grad(fast, (x, weight))
    assert fast.dtype == torch.float32 and float((fast - slow).detach().abs()) < 0.01
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.01 * other.norm()


@pytest.mark.parametrize("margin", [0.0, 3.0, 6.0, 12.0, 30.0])
def test_confident_tokens_keep_their_digits_in_16_bits(margin: float) -> None:
    """A probability of 0.997 is 0.996 in bfloat16, whose logarithm is half as large again; p - 1 likewise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 8, generator=generator).bfloat16()
    weight = torch.randn(6, 8, generator=generator).bfloat16()
    targets = torch.randint(0, 6, (32,), generator=generator)
    x = (x + margin * weight[targets] / weight[targets].float().square().sum(1, keepdim=True)).bfloat16()
    x.requires_grad_(), weight.requires_grad_()
    logits = (x @ weight.T).float()
    slow = F.cross_entropy(logits, targets)
    expected = torch.autograd.grad(slow, (x, weight))
    fast = linear_cross_entropy(x, weight, targets)
    found = torch.autograd.grad(fast, (x, weight))
    assert float(fast) == pytest.approx(float(slow), rel=1e-5, abs=1e-9)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).float().norm() <= 0.02 * other.float().norm() + 1e-9
