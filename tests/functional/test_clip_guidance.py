"""CLIP guidance with an embedding whose gradient is known: the normalised pixels, seen through a matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pinxit.functional.clip_guidance import ClipGuidance

STEP, NOISE = 0.05, 1e6  # where all is noise


def matrix() -> Tensor:
    return torch.randn(5, 48, generator=torch.Generator().manual_seed(1))


def embed(pictures_B3SS: Tensor) -> Tensor:
    """Unit rows [B, E] of pictures in [0, 1]."""
    return torch.nn.functional.normalize((pictures_B3SS * 2 - 1).flatten(1) @ matrix().T, dim=1)


@pytest.fixture
def picture() -> Tensor:
    return 0.8 * torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(2)) - 0.4


@pytest.fixture
def guidance() -> ClipGuidance:
    target = torch.nn.functional.normalize(torch.randn(5, generator=torch.Generator().manual_seed(3)), dim=0)
    return ClipGuidance(embed, target, STEP)


@pytest.mark.parametrize(("sigma", "share"), [(NOISE, 1.0), (2.0, 0.8), (1.0, 0.5), (0.25, 1 / 17)])
def test_it_goes_along_the_gradient_of_the_cosine(
    guidance: ClipGuidance, picture: Tensor, sigma: float, share: float
) -> None:
    z_E = matrix() @ picture.flatten()
    cosine = z_E @ guidance.target / z_E.norm()
    gradient = matrix().T @ (guidance.target - cosine * z_E / z_E.norm())  # times 1 / |z|, which makes no direction
    expected = picture.flatten() + STEP * share * gradient / gradient.square().mean().sqrt()
    torch.testing.assert_close(guidance(picture, sigma).flatten(), expected)


def test_many_steps_lead_to_the_target(guidance: ClipGuidance, picture: Tensor) -> None:
    there = picture
    for _ in range(30):
        there = guidance(there, NOISE)
    before, after = (float(embed(one[None])[0] @ guidance.target) for one in (picture, there))
    assert after > 0.9 > 0.8 > before


def test_each_move_has_a_gradient_of_its_own(guidance: ClipGuidance, picture: Tensor) -> None:
    thrice = ClipGuidance(embed, guidance.target, STEP, moves=3)(picture, 1.0)
    assert torch.equal(thrice, guidance(guidance(guidance(picture, 1.0), 1.0), 1.0))
    assert not torch.allclose(thrice - picture, 3 * (guidance(picture, 1.0) - picture), rtol=1e-3)


def test_without_noise_nothing_is_left_to_move(guidance: ClipGuidance, picture: Tensor) -> None:
    assert torch.equal(guidance(picture, 0.0), picture)


def test_pictures_stay_within_their_range(guidance: ClipGuidance) -> None:
    edge = torch.where(torch.arange(48).reshape(3, 4, 4) % 2 == 0, 1.0, -0.99)
    there = guidance(edge, NOISE)
    assert not torch.equal(there, edge) and there.abs().max() <= 1


def test_where_nothing_can_be_told_nothing_moves(guidance: ClipGuidance, picture: Tensor) -> None:
    blind = ClipGuidance(lambda pictures: 0 * embed(pictures), guidance.target, STEP)
    assert torch.equal(blind(picture, NOISE), picture)


def test_a_target_may_lie_elsewhere_than_what_the_clip_gives(guidance: ClipGuidance, picture: Tensor) -> None:
    """On another device, as the captions of `AnyRanker` beside a CLIP on a GPU; here of another type."""
    apart = ClipGuidance(embed, guidance.target.double(), STEP)
    assert torch.equal(apart(picture, 1.0), guidance(picture, 1.0))


def test_gradients_are_taken_where_the_caller_takes_none(guidance: ClipGuidance, picture: Tensor) -> None:
    expected = guidance(picture, 1.0)
    with torch.inference_mode():
        of_inference = ClipGuidance(embed, guidance.target.clone(), STEP)(picture.clone(), 1.0)
    assert torch.equal(of_inference, expected) and not expected.requires_grad
    with torch.autocast("cpu"):
        assert torch.equal(guidance(picture, 1.0), expected)
