"""Wear: strength zero changes nothing, worn pictures stay pictures, the draws come from the generator alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pinxit.functional.degrade import blurred, faced, noisy, patched, quantised, strewn, warped, worn


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


DAMAGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "blurred": blurred,
    "quantised": quantised,
    "noisy": lambda x, s: noisy(x, s, generator()),
    "cloudy": lambda x, s: noisy(x, s, generator(), cells=4),
    "warped": lambda x, s: warped(x, s, generator()),
    "patched": lambda x, s: patched(x, s, generator(), cells=4),
    "strewn": lambda x, s: strewn(x, s, generator(), cells=4),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_strength_is_per_picture_and_zero_changes_nothing(name: str) -> None:
    pictures = torch.rand(2, 3, 16, 16, generator=generator(1))
    damaged = DAMAGES[name](pictures, torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(damaged[0], pictures[0], atol=2e-4, rtol=0)
    assert (damaged[1] - pictures[1]).abs().mean() > 0.01


def test_blur_keeps_plain_pictures_and_total_light() -> None:
    plain = torch.full((1, 3, 8, 8), 0.4)
    torch.testing.assert_close(blurred(plain, torch.ones(1)), plain)
    dot = torch.zeros(1, 1, 8, 8)
    dot[0, 0, 4, 4] = 1
    soft = blurred(dot, torch.ones(1))
    assert soft.sum().item() == pytest.approx(1) and soft[0, 0, 4, 4].item() == pytest.approx(0.25)


def test_quantising_is_idempotent_and_bounded_by_half_a_step() -> None:
    pictures = torch.rand(2, 3, 16, 16, generator=generator(2))
    step = torch.tensor([0.2, 0.4])
    once = quantised(pictures, step)
    torch.testing.assert_close(quantised(once, step), once, atol=1e-4, rtol=0)
    rms = (once - pictures).square().mean((1, 2, 3)).sqrt()
    assert (rms <= step / 2).all()


def test_patches_move_whole_and_strays_come_from_another_picture() -> None:
    ramp = torch.arange(16.0).expand(1, 1, 16, 16) / 16
    moved = patched(ramp, torch.full((1,), 2.0), generator(3), cells=4)[0, 0].unfold(0, 4, 4).unfold(1, 4, 4)
    inner = moved[:, 1:3]  # away from the edge every patch keeps the ramp's slope
    torch.testing.assert_close(inner.diff(dim=-1), torch.full_like(inner.diff(dim=-1), 1 / 16), atol=1e-4, rtol=0)
    still = (moved[:, :, 0, 0] - ramp[0, 0, ::4, ::4]).abs() < 1e-5
    assert 2 < still.sum() < 14
    two = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)])
    odd = strewn(two, torch.tensor([0.0, 0.3]), generator(4), cells=8)
    assert odd[0].sum() == 0 and 0.5 < odd[1].mean() < 0.9
    assert set(odd[1].unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2)).flatten().tolist()) == {0.0, 1.0}


def test_worn_pictures_are_pictures_and_repeatable() -> None:
    pictures = torch.rand(8, 3, 64, 64, generator=generator(3))
    one, same, other = worn(pictures, generator(4)), worn(pictures, generator(4)), worn(pictures, generator(5))
    assert one.min() >= 0 and one.max() <= 1
    torch.testing.assert_close(one, same, atol=0, rtol=0)
    assert (one - other).abs().max() > 0.01


def test_faces_hide_the_middle_of_their_boxes_and_nothing_else() -> None:
    pictures = torch.full((3, 3, 64, 64), 0.3)
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]])
    found = faced(pictures, torch.tensor([0, 2]), boxes, generator())
    assert torch.equal(found[1], pictures[1])
    for picture, box in ((0, boxes[0]), (2, boxes[1])):
        changed = (found[picture] != pictures[picture]).any(0)
        x0, y0, x1, y1 = (box * 64).round().int().tolist()
        assert changed[(y0 + y1) // 2 - 1, (x0 + x1) // 2 - 1] and not changed[y0, x0]
        outside = changed.clone()
        outside[y0:y1, x0:x1] = False
        assert not outside.any() and 0.05 < changed[y0:y1, x0:x1].float().mean() < 0.8
    assert torch.equal(found, faced(pictures, torch.tensor([0, 2]), boxes, generator()))
    assert not torch.equal(found, faced(pictures, torch.tensor([0, 2]), boxes, generator(1)))
