"""A start for the token transformer in which codes that look alike are alike.

A fresh transformer has to learn from examples that two hundred codes are all "red": with thousands of codes and few
pictures that takes most of a short run (docs/log.md). The dVAE knows it already, so the rows of the embedding and of
the output start as its vectors, turned at random into the transformer's width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinxit.models.transformer import TokenTransformer

SCALE = 0.02  # root mean square of a row's values, as everywhere else (GPT-2)
NOISE = 0.3  # of the usual random start, relative, so that no two codes begin as one


@torch.no_grad()
def init_from_codebook(model: TokenTransformer, vectors_KC: Tensor, seed: int) -> None:
    """Fill the embedding and output rows of the picture codes from the dVAE's `vectors_KC`, one per code.

    The directions are balanced halfway (to the square root of their strength): the mean colour still counts most.
    """
    generator = torch.Generator().manual_seed(seed)
    u_KC, strength_C, _ = torch.linalg.svd(vectors_KC.float().cpu() - vectors_KC.float().cpu().mean(0), False)
    balanced_KC = u_KC * (strength_C / strength_C.max().clamp(min=1e-12)).sqrt()
    for rows_KD in (model.embed.image, model.image_head):
        if rows_KD.numel():  # tied models have no output rows of their own
            rows_KD.copy_(SCALE * _turned(balanced_KC, rows_KD.shape[1], generator))


def _turned(vectors_KC: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """`vectors_KC` in `width` dimensions at a random angle, [K, width], of mean square 1, noise included."""
    most = min(width, vectors_KC.shape[1])  # the strongest directions, where not all of them fit
    angle_CD = torch.linalg.qr(torch.randn(width, most, generator=generator))[0].T
    turned_KD = _normal(vectors_KC[:, :most] @ angle_CD)
    noise_KD = torch.randn(turned_KD.shape, generator=generator)
    return (turned_KD + NOISE * noise_KD) / math.hypot(1, NOISE)


def _normal(x: Tensor) -> Tensor:
    return x / x.square().mean().sqrt().clamp(min=1e-12)
