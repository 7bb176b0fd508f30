"""An initialisation of the token transformer in which codes that look alike have similar embeddings.

A randomly initialised transformer has to learn from examples that two hundred codes are all "red": with thousands of
codes and few pictures that takes most of a short run (docs/log.md). The dVAE knows it already, so the rows of the
embedding and of the output start as its code vectors, randomly rotated into the transformer's width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinxit.models.transformer import TokenTransformer

SCALE = 0.02  # root mean square of a row's values, as everywhere else (GPT-2)
NOISE = 0.3  # of the usual random initialisation, relative to the vectors, so that no two codes start equal


@torch.no_grad()
def init_from_codebook(model: TokenTransformer, vectors_KC: Tensor, seed: int) -> None:
    """Fill the embedding and output rows of the picture codes from the dVAE's `vectors_KC`, one per code.

    Singular values are replaced by their square roots, which weakens the dominant directions (mean colour) without
    removing their lead.
    """
    generator = torch.Generator().manual_seed(seed)
    u_KC, strength_C, _ = torch.linalg.svd(vectors_KC.float().cpu() - vectors_KC.float().cpu().mean(0), False)
    balanced_KC = u_KC * (strength_C / strength_C.max().clamp(min=1e-12)).sqrt()
    for rows_KD in (model.embed.image, model.image_head):
        if rows_KD.numel():  # tied models have no output rows of their own
            rows_KD.copy_(SCALE * _rotated(balanced_KC, rows_KD.shape[1], generator))


def _rotated(vectors_KC: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """`vectors_KC` randomly rotated into `width` dimensions, plus noise, [K, width], of mean square 1."""
    most = min(width, vectors_KC.shape[1])  # the strongest directions, where not all of them fit
    rotation_CD = torch.linalg.qr(torch.randn(width, most, generator=generator))[0].T
    rotated_KD = _normal(vectors_KC[:, :most] @ rotation_CD)
    noise_KD = torch.randn(rotated_KD.shape, generator=generator)
    return (rotated_KD + NOISE * noise_KD) / math.hypot(1, NOISE)


def _normal(x: Tensor) -> Tensor:
    return x / x.square().mean().sqrt().clamp(min=1e-12)
