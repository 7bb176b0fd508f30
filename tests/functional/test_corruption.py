"""Wear: strength zero changes nothing, corrupted pictures stay pictures, the draws come from the generator alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pinxit.functional import corruption as degrade
from pinxit.functional.corruption import (
    FACE,
    blurred,
    corrupted,
    drawn,
    faced,
    noisy,
    patched,
    quantised,
    strewn,
    warped,
)
from pinxit.functional.draws import OneStream


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(seed: int = 0) -> OneStream:
    return OneStream(generator(seed))


DAMAGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "blurred": blurred,
    "quantised": quantised,
    "noisy": lambda x, s: noisy(x, s, draws()),
    "cloudy": lambda x, s: noisy(x, s, draws(), cells=4),
    "warped": lambda x, s: warped(x, s, draws()),
    "patched": lambda x, s: patched(x, s, draws(), cells=4),
    "strewn": lambda x, s: strewn(x, s, draws(), cells=4),
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


def test_patches_move_whole_and_strays_come_from_elsewhere_in_it() -> None:
    ramp = torch.arange(16.0).expand(1, 1, 16, 16) / 16
    moved = patched(ramp, torch.full((1,), 2.0), draws(3), cells=4)[0, 0].unfold(0, 4, 4).unfold(1, 4, 4)
    inner = moved[:, 1:3]  # away from the edge every patch keeps the ramp's slope
    torch.testing.assert_close(inner.diff(dim=-1), torch.full_like(inner.diff(dim=-1), 1 / 16), atol=1e-4, rtol=0)
    still = (moved[:, :, 0, 0] - ramp[0, 0, ::4, ::4]).abs() < 1e-5
    assert 2 < still.sum() < 14
    halves = (torch.arange(16) >= 8).float().view(1, 1, 16, 1).expand(2, 3, 16, 16)  # dark above, light below
    odd = strewn(halves, torch.tensor([0.0, 0.3]), draws(4), cells=8)
    strays = (odd != halves)[1].float().mean()
    assert torch.equal(odd[0], halves[0]) and 0.15 < strays < 0.45
    assert set(odd[1].unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2)).flatten().tolist()) == {0.0, 1.0}


def test_worn_pictures_are_pictures_and_repeatable() -> None:
    pictures = torch.rand(8, 3, 64, 64, generator=generator(3))
    one, same, other = (
        corrupted(pictures, draws(4)),
        corrupted(pictures, draws(4)),
        corrupted(pictures, draws(5)),
    )
    assert one.min() >= 0 and one.max() <= 1
    torch.testing.assert_close(one, same, atol=0, rtol=0)
    assert (one - other).abs().max() > 0.01


def test_faces_hide_the_middle_of_their_boxes_and_nothing_else() -> None:
    pictures = torch.full((3, 3, 64, 64), 0.3)
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]])
    found = faced(pictures, torch.tensor([0, 2]), boxes, draws().uniform(2, FACE))
    assert torch.equal(found[1], pictures[1])
    for picture, box in ((0, boxes[0]), (2, boxes[1])):
        changed = (found[picture] != pictures[picture]).any(0)
        x0, y0, x1, y1 = (box * 64).round().int().tolist()
        assert changed[(y0 + y1) // 2 - 1, (x0 + x1) // 2 - 1] and not changed[y0, x0]
        outside = changed.clone()
        outside[y0:y1, x0:x1] = False
        assert not outside.any() and 0.05 < changed[y0:y1, x0:x1].float().mean() < 0.8
    assert torch.equal(found, faced(pictures, torch.tensor([0, 2]), boxes, draws().uniform(2, FACE)))
    assert not torch.equal(found, faced(pictures, torch.tensor([0, 2]), boxes, draws(1).uniform(2, FACE)))


def test_faces_are_as_large_as_their_boxes_allow() -> None:
    """The largest disc has 0.42 of the shorter side, and a rim of half a pixel, wherever the box lies."""
    draws = torch.zeros(1, FACE).index_fill(1, torch.tensor([0, 1]), 0.5)  # in the very middle, and no light missing
    draws[:, 2] = 1.0
    for box in ([0.0, 0.0, 0.4, 0.4], [0.6, 0.5, 1.0, 0.9], [0.1, 0.5, 1.0, 0.9], [0.55, 0.0, 0.95, 1.0]):
        blank = torch.full((1, 3, 128, 128), 0.3)
        area = float((faced(blank, torch.tensor([0]), torch.tensor([box]), draws) != blank).any(1).sum())
        assert area == pytest.approx(math.pi * (0.42 * 0.4 * 128 + 0.5) ** 2, rel=0.02), box


MOST = {"warped": 1.0, "patched": 2.0, "strewn": 0.01, "blurred": 1.0, "quantised": 0.35, "cloudy": 0.06, "noisy": 0.05}


def test_every_damage_spares_half_and_ends_where_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[Tensor]] = {}
    patches: dict[str, list[object]] = {}

    def spy(name: str) -> Callable[..., Tensor]:
        def damage(x: Tensor, strength: Tensor, *given: object, cells: int | None = None) -> Tensor:
            drawn.setdefault("cloudy" if cells else name, []).append(strength)
            patches.setdefault("cloudy" if cells else name, []).append(cells or given[-1:])
            return x

        return damage

    for name in MOST.keys() - {"cloudy"}:
        monkeypatch.setattr(degrade, name, spy(name))
    degrade.corrupted(torch.zeros(2000, 1, 24, 24), draws())
    assert drawn.keys() == MOST.keys()
    assert patches["patched"] == patches["strewn"] == [(8,), (12,)] and patches["cloudy"] == [3]
    for name, most in MOST.items():
        strength = torch.cat(drawn[name]) / most
        assert 0.45 < (strength == 0).float().mean() < 0.55, name
        assert 0.97 < strength.max() <= 1 and 0.45 < strength[strength > 0].mean() < 0.55, name


def test_repainting_fades_colours_by_every_degree() -> None:
    """Of pure reds a third is drawn in lines, and of the rest a fifth wholly gray and the others anything between."""
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(2000, 3, 4, 4).contiguous()
    found, changed = degrade.repainted(red, draws(), share=1.0)
    colour = (found.amax(1) - found.amin(1))[:, 0, 0]
    assert changed.all() and (colour < 1e-6).float().mean().item() == pytest.approx(1 / 3 + 2 / 15, abs=0.04)
    kept = colour[colour > 1e-6].sort().values
    torch.testing.assert_close(kept, torch.linspace(0, 1, len(kept)), atol=0.06, rtol=0)
    brightest = found[colour > 0.1].argmax(1)[:, 0, 0]
    assert torch.bincount(brightest, minlength=3).min() > 0.25 * len(brightest), "channels are exchanged"
    half, of = degrade.repainted(red, draws(), share=0.3)
    assert 0.25 < of.float().mean() < 0.35 and torch.equal(half[~of], red[~of])


def test_what_is_drawn_is_dark_at_edges_and_a_little_where_it_is_dark() -> None:
    """Paper of 0.96, shade of a fifth of what lightness lacks to 0.8, lines three times as dark as the step is high."""
    flat = torch.stack([torch.full((3, 4, 4), level) for level in (0.0, 0.5, 1.0)])
    shades = drawn(flat)[:, 0, 0, 0]
    torch.testing.assert_close(shades, torch.tensor([0.80, 0.90, 0.96]))
    step = torch.full((1, 3, 4, 4), 0.9)
    step[..., 2:] = 1.0
    torch.testing.assert_close(drawn(step)[0, 0, 0], torch.tensor([0.96, 0.66, 0.96, 0.96]))


@pytest.mark.parametrize("damage", [drawn, lambda x: blurred(x, torch.ones(2)), lambda x: quantised(x, torch.ones(2))])
def test_up_and_down_is_as_left_and_right(damage: Callable[[Tensor], Tensor]) -> None:
    pictures = torch.rand(2, 3, 8, 8, generator=generator(5))
    torch.testing.assert_close(damage(pictures.mT), damage(pictures).mT, atol=1e-5, rtol=0)


def test_a_face_by_hand() -> None:
    """A disc of 9.28 pixels' radius in the middle of a box, its rim one pixel wide, strokes up and to the right."""
    told = torch.full((1, FACE), 0.5)
    told[0, 3:7], told[0, 7:10] = torch.tensor([0.1, 0.2, 0.3, 0.39]), torch.tensor([0.2, 0.4, 0.6])
    told[0, 11:13] = torch.tensor([0.0, 0.25])
    box, ground, dark = torch.tensor([[0.25, 0.25, 0.75, 1.0]]), torch.full((3,), 0.5), torch.tensor([0.1, 0.2, 0.3])
    light = torch.tensor([0.94, 0.88, 0.82])
    found = faced(ground[None, :, None, None].expand(1, 3, 64, 64), torch.tensor([0]), box, told)[0]
    strokes = {(39 - k, column) for k in range(6) for column in (31, 32)}
    strokes |= {(row, 32 + k) for k in range(6) for row in (39, 40)}
    for row in range(64):
        for column in range(64):
            far = ((row - 39.5) ** 2 + (column - 31.5) ** 2) ** 0.5
            ring = dark if far < 10.28 else ground
            colour = dark if (row, column) in strokes else light if far < 9.28 else ring
            assert torch.allclose(found[:, row, column], colour, atol=1e-5), (row, column)
    told[0, 6], told[0, :3] = 0.4, torch.tensor([1.0, 0.0, 0.0])
    small = faced(torch.zeros(1, 3, 64, 64), torch.tensor([0]), box, told)[0]
    disc = (small == 1).all(0).nonzero().float().mean(0)
    assert disc[1] > 32.5 and disc[0] < 39, "moved to the right and up, and white"
    reach = (small > 0).any(0)
    assert reach.any(0).sum() == 2 * round(0.16 * 32 + 1), "the smallest disc with its rim"


def test_every_pixel_shows_what_is_so_many_pixels_away() -> None:
    x = torch.rand(1, 3, 8, 12, generator=generator(7))
    whole = degrade._moved(x, torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 8, 12))
    torch.testing.assert_close(whole[..., 1:, :-2], x[..., :-1, 2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(whole[..., 0, :-2], x[..., 0, 2:], atol=1e-5, rtol=0)  # the edge goes on beyond it
    half = degrade._moved(x, torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 12))
    torch.testing.assert_close(half[..., :-1], (x[..., :-1] + x[..., 1:]) / 2, atol=1e-5, rtol=0)


def test_noise_has_its_strength_as_deviation_and_may_be_smooth() -> None:
    plain, strength = torch.zeros(2, 3, 64, 64), torch.tensor([0.1, 0.4])
    fine, smooth = noisy(plain, strength, draws(8)), noisy(plain, strength, draws(8), cells=32)
    torch.testing.assert_close(fine.std((1, 2, 3)), strength, atol=0, rtol=0.03)
    neighbours = [torch.corrcoef(x[1, 0, :, 1:-1].unfold(1, 2, 1).reshape(-1, 2).T)[0, 1] for x in (fine, smooth)]
    assert abs(neighbours[0]) < 0.1 and neighbours[1] > 0.4


def test_a_warp_moves_by_so_many_pixels_as_it_is_strong(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[Tensor] = []

    def noting(x: Tensor, moves: Tensor) -> Tensor:
        moved.append(moves)
        return x

    monkeypatch.setattr(degrade, "_moved", noting)
    many, strength = torch.zeros(400, 1, 11, 11), torch.full((400,), 3.0)
    warped(many, strength, draws(9))
    patched(many, strength, draws(9), cells=11)
    knots, patches = (moves.flatten() for moves in (moved[0][..., ::2, ::2], moved[1]))
    assert knots.std() == pytest.approx(3, rel=0.05), "every other pixel is one of the six knots"
    between = moved[0][..., 1::2, ::2]
    torch.testing.assert_close(between.mean(), torch.zeros(()), atol=0.1, rtol=0)
    assert between.std() < 0.95 * knots.std(), "what lies between knots follows all of them"
    still = patches == 0
    assert still.float().mean() == pytest.approx(0.5, abs=0.02) and patches[~still].std() == pytest.approx(3, rel=0.05)
