"""The loss of the token transformer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pinxit.functional.tokens import token_loss


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits and targets of two captions (2 and 4 tokens long, 6 positions) and two pictures of 3 x 3 codes."""
    generator = torch.Generator().manual_seed(0)
    text = torch.tensor([[3, 4, 0, 0, 0, 0], [5, 6, 7, 8, 0, 0]])
    codes = torch.randint(0, 11, (2, 3, 3), generator=generator)
    return torch.randn(2, 6, 10, generator=generator), torch.randn(2, 9, 11, generator=generator), text, codes


def mean_nll(logits: Tensor, targets: Tensor) -> float:
    """Cross-entropy by its definition."""
    return float(-(logits.softmax(-1).gather(-1, targets[..., None])).log().mean())


def test_each_kind_is_averaged_over_its_own_tokens(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    text_logits, image_logits, text, codes = batch
    loss, text_ce, image_ce = token_loss(*batch)
    there = text != 0
    assert float(text_ce) == pytest.approx(mean_nll(text_logits[there], text[there]), rel=1e-5)
    assert float(image_ce) == pytest.approx(mean_nll(image_logits, codes.flatten(1)), rel=1e-5)
    assert float(loss) == pytest.approx(float(text_ce) / 8 + float(image_ce) * 7 / 8, rel=1e-6)


def test_doubling_the_text_loss_changes_the_sum_by_an_eighth(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    """The same picture loss beside a text loss twice as high."""
    text_logits, image_logits, text, codes = batch
    loss, text_ce, _ = token_loss(text_logits, image_logits, text, codes)
    low, high = 1.0, 200.0
    for _ in range(60):  # a temperature at which the text's loss is twice as high
        middle = (low + high) / 2
        doubled = token_loss(text_logits * middle, image_logits, text, codes)
        low, high = (middle, high) if doubled[1] < 2 * text_ce else (low, middle)
    assert float(doubled[1]) == pytest.approx(2 * float(text_ce), rel=1e-4)
    assert float(doubled[0] - loss) == pytest.approx(float(text_ce) / 8, rel=1e-3)


def test_pads_count_on_request(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    text_logits, image_logits, text, codes = batch
    _, text_ce, _ = token_loss(text_logits, image_logits, text, codes, count_pads=True)
    assert float(text_ce) == pytest.approx(mean_nll(text_logits, text), rel=1e-5)


def test_a_batch_without_text_has_no_text_loss(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    """Captions are dropped for guidance; a whole batch of them once gave 0 / 0."""
    text_logits, image_logits, text, codes = batch
    text_logits.requires_grad_()
    loss, text_ce, image_ce = token_loss(text_logits, image_logits, torch.zeros_like(text), codes)
    assert text_ce == 0
    assert float(loss.detach()) == pytest.approx(float(image_ce) * 7 / 8)
    (gradient,) = torch.autograd.grad(loss, text_logits)
    assert not gradient.any()


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    loss, text_ce, image_ce = token_loss(
        torch.zeros(1, 2, 16), torch.zeros(1, 4, 64), torch.tensor([[1, 2]]), torch.zeros(1, 4, dtype=torch.long)
    )
    assert float(text_ce) == pytest.approx(math.log(16))
    assert float(image_ce) == pytest.approx(math.log(64))
    assert float(loss) == pytest.approx(math.log(16) / 8 + math.log(64) * 7 / 8)
