"""Corruption augmentation: artefacts like those of generators, which do not change what is in a picture.

A judge trained on clean renders alone calls a soft outline a wrong shape. Each function maps pictures [B, C, H, W] in
[0, 1] to the same shape; strengths are [B], 0 leaving a picture as it is; random numbers come from explicit `draws`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.functional.draws import Draws

FACE = 14  # random numbers that one disc of `faced` takes
PATCHES = (8, 12)  # patches a side, like those of painters that work patch by patch


def blurred(x: Tensor, strength_B: Tensor) -> Tensor:
    """Mixed with a 3 x 3 binomial blur of itself."""
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], device=x.device) / 16
    weight = kernel.expand(x.shape[1], 1, 3, 3)
    soft = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, groups=x.shape[1])
    return torch.lerp(x, soft, _wide(strength_B))


def noisy(x: Tensor, strength_B: Tensor, draws: Draws, cells: int | None = None) -> Tensor:
    """With Gaussian noise of that standard deviation added, smooth over `cells` x `cells` knots if given."""
    shape = x.shape if cells is None else (*x.shape[:2], cells, cells)
    noise = draws.normal(*shape).to(x.device)
    if cells is not None:
        noise = F.interpolate(noise, x.shape[2:], mode="bilinear", align_corners=False)
    return x + noise * _wide(strength_B)


def quantised(x: Tensor, step_B: Tensor) -> Tensor:
    """Like strong JPEG compression: DCT coefficients of 8 x 8 blocks rounded to multiples of `step`."""
    B, C, H, W = x.shape
    basis = _cosines(8).to(x.device)
    blocks = x.view(B, C, H // 8, 8, W // 8, 8).transpose(3, 4)
    step = _wide(step_B)[..., None, None].clamp(min=1e-4)
    coefficients = ((basis @ blocks @ basis.T) / step).round() * step
    return (basis.T @ coefficients @ basis).transpose(3, 4).reshape(B, C, H, W)


def warped(x: Tensor, strength_B: Tensor, draws: Draws, knots: int = 6) -> Tensor:
    """Wobbly outlines: knots of a coarse grid move by a Gaussian of `strength` pixels, and the rest follows."""
    moves = draws.normal(len(x), 2, knots, knots).to(x.device)
    moves = F.interpolate(moves, x.shape[2:], mode="bicubic", align_corners=True)
    return _moved(x, moves * _wide(strength_B))


def patched(x: Tensor, strength_B: Tensor, draws: Draws, cells: int) -> Tensor:
    """As if put together from patches that do not quite fit: a random half of the `cells` x `cells` patches is
    displaced by a Gaussian of `strength` pixels.
    """
    moves = draws.normal(len(x), 2, cells, cells).to(x.device)
    moves = moves * (draws.uniform(len(x), 1, cells, cells).to(x.device) < 0.5)
    return _moved(x, F.interpolate(moves, x.shape[2:], mode="nearest") * _wide(strength_B))


def strewn(x: Tensor, share_B: Tensor, draws: Draws, cells: int) -> Tensor:
    """With a `share` of the `cells` x `cells` patches replaced by what is elsewhere in the picture, mirrored."""
    chosen = draws.uniform(len(x), 1, cells, cells).to(x.device) < _wide(share_B)
    other = x.flip(3).roll(x.shape[2] // 2, 2)
    return torch.where(F.interpolate(chosen.float(), x.shape[2:], mode="nearest") > 0, other, x)


def _moved(x: Tensor, moves: Tensor) -> Tensor:
    """Every pixel shows what is `moves` [B, 2, H, W] (across, down) pixels away."""
    H, W = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(H, device=x.device), torch.arange(W, device=x.device), indexing="ij")
    at_x = (columns + moves[:, 0] + 0.5) * 2 / W - 1
    at_y = (rows + moves[:, 1] + 0.5) * 2 / H - 1
    where = torch.stack([at_x, at_y], -1)
    return F.grid_sample(x, where, mode="bilinear", padding_mode="border", align_corners=False)


def corrupted(x: Tensor, draws: Draws) -> Tensor:
    """Every corruption with a strength drawn for each picture; each leaves about half of the pictures as they are."""

    def strengths(most: float) -> Tensor:
        draw = draws.uniform(len(x)).to(x.device)
        return (2 * draw - 1).clamp(min=0) * most

    x = warped(x, strengths(1.0), draws)
    for cells in PATCHES:
        x = patched(x, strengths(2.0), draws, cells)
        x = strewn(x, strengths(0.01), draws, cells)
    x = blurred(x, strengths(1.0))
    x = noisy(x, strengths(0.06), draws, cells=x.shape[2] // 8)
    x = quantised(x, strengths(0.35))
    x = noisy(x, strengths(0.05), draws)
    return x.clamp(0, 1)


def repainted(x: Tensor, draws: Draws, share: float = 0.3) -> tuple[Tensor, Tensor]:
    """Shapes stay, colours do not: in a share of the pictures channels are permuted and faded, or lines are drawn.

    Returns the pictures and which of them were changed, bool [B].
    """
    B = len(x)
    order = draws.uniform(B, 3).to(x.device).argsort(1)
    exchanged = x.gather(1, order[:, :, None, None].expand_as(x))
    fade = draws.uniform(B).to(x.device).clamp(max=0.8) / 0.8  # one in five is wholly gray
    exchanged = torch.lerp(exchanged, exchanged.mean(1, keepdim=True), _wide(fade))
    draw = draws.uniform(B).to(x.device)
    result = torch.where(_wide(draw < share), torch.where(_wide(draw < share / 3), drawn(x), exchanged), x)
    return result, draw < share


def faced(x: Tensor, picture_M: Tensor, box_M4: Tensor, draws_M14: Tensor) -> Tensor:
    """Draws a disc with a rim and two strokes (a clock's face) in the middle of boxes x0, y0, x1, y1, in shares of the
    side, so that the inside of a thing says nothing of its outline. `picture_M`: each box's picture; `draws_M14`:
    uniform in [0, 1).
    """
    result, side = x.clone(), x.shape[-1]
    places = (torch.arange(side, device=x.device) + 0.5) / side
    for picture, box, draw in zip(picture_M.tolist(), box_M4, draws_M14, strict=True):
        extent = torch.minimum(box[2] - box[0], box[3] - box[1])
        middle = (box[:2] + box[2:]) / 2 + (draw[:2] - 0.5) * 0.12 * extent
        across, down = places[None, :] - middle[0], places[:, None] - middle[1]
        radius = (0.16 + 0.26 * draw[2]) * extent
        far = (across.square() + down.square()).sqrt()
        light = 1 - 0.6 * draw[3:6] * (draw[6] < 0.4)  # often white, else any light colour
        dark = 0.5 * draw[7:10]
        disc, rim = far < radius, (far < radius + (0.5 + draw[10]) / side) & (far >= radius)
        result[picture] = torch.where(disc, light[:, None, None], result[picture])
        result[picture] = torch.where(rim, dark[:, None, None], result[picture])
        for turn in draw[11:13] * (2 * math.pi):
            along = across * turn.sin() - down * turn.cos()
            aside = (across * turn.cos() + down * turn.sin()).abs()
            stroke = (along > 0) & (along < (0.5 + 0.4 * draw[13]) * radius) & (aside < 0.7 / side)
            result[picture] = torch.where(stroke, dark[:, None, None], result[picture])
    return result


def drawn(x: Tensor) -> Tensor:
    """Dark lines where lightness changes, faint shade where it is dark, on light paper."""
    light = x.mean(1, keepdim=True)
    right = F.pad(light[..., 1:] - light[..., :-1], (0, 1, 0, 0)).abs()
    down = F.pad(light[..., 1:, :] - light[..., :-1, :], (0, 0, 0, 1)).abs()
    ink = (3 * torch.maximum(right, down)).clamp(max=0.75) + 0.2 * (0.8 - light).clamp(min=0)
    return (0.96 - ink).clamp(0, 1).expand_as(x)


def _wide(value_B: Tensor) -> Tensor:
    return value_B[:, None, None, None]


@lru_cache(maxsize=4)
def _cosines(n: int) -> Tensor:
    """The orthonormal DCT-II matrix, [n, n]."""
    k, i = torch.arange(n)[:, None], torch.arange(n)[None, :]
    basis = math.sqrt(2 / n) * torch.cos(math.pi * (i + 0.5) * k / n)
    basis[0] /= math.sqrt(2)
    return basis
