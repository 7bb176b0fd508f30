"""Ranking: candidates sorted by how well picture and sentence match in an encoder's embedding space.

Works with any picture encoder. Batches have one fixed shape, so that an embedding never depends on the other pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pinxit.types import Ranked

if TYPE_CHECKING:
    from pinxit.types import Picture


def encode_fixed(encode: Callable[[Tensor], Tensor], rows: Tensor, batch: int) -> Tensor:
    """`encode` over `rows` [N, ...] in batches of exactly `batch` (the last one padded with zeros), [N, E]."""
    parts = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        short = batch - len(part)
        if short:  # not by `torch.cat` with zeros, which lays out pictures in another order: kernels differ by that
            part = torch.nn.functional.pad(part, (0, 0) * (part.ndim - 1) + (0, short))
        parts.append(encode(part)[: batch - short])
    return torch.cat(parts)


def to_tensor(pictures: Sequence[Picture]) -> Tensor:
    """Pictures uint8 [H, W, 3] of one size -> float [N, 3, H, W] in [0, 1]."""
    ordered = np.ascontiguousarray(np.stack(pictures))  # kernels differ by how pictures lie in memory
    return torch.from_numpy(ordered).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def scores(image_NE: Tensor, text_E: Tensor, agreement: float = 0.0) -> list[float]:
    """Each candidate's score: cosine(image, text) - agreement * (1 - cosine(image, middle)), in float64.

    The middle is the mean of all candidates' embeddings, normalised to length one. A mistake that fools the encoder is
    seldom made twice, so `agreement` prefers candidates that look like the others to outliers that the encoder happens
    to like: minimum Bayes risk (Kumar and Byrne, 2004). The score of a single candidate is its cosine.
    """
    cosines = _cosines(image_NE, text_E)
    if agreement:
        middle = torch.nn.functional.normalize(image_NE.double(), dim=1).mean(0)
        cosines = [own - agreement * (1 - near) for own, near in zip(cosines, _cosines(image_NE, middle), strict=True)]
    return cosines


def _cosines(image_NE: Tensor, to_E: Tensor) -> list[float]:
    image_NE, to_E = image_NE.double().cpu(), to_E.double().cpu()
    # Row by row: a matrix product may sum in another order when there are more rows.
    return [float((row * to_E).sum() / (row.norm() * to_E.norm())) for row in image_NE]


def best_first(
    pictures: Sequence[Picture],
    seed: int,
    scores: Sequence[float],
    bonus: Sequence[float] | None = None,
    candidates: Sequence[int] | None = None,
) -> list[Ranked]:
    """Candidates of one seed, best first by score plus bonus; ties keep the given order.

    `candidates`: their numbers (None: 0, 1, 2 ...). Raises ValueError when there are not as many scores, or bonuses, as
    pictures.
    """
    numbers = range(len(pictures)) if candidates is None else candidates
    facts = zip(numbers, pictures, scores, bonus or [0.0] * len(pictures), strict=True)
    ranked = [Ranked(picture, seed, k, score + more) for k, picture, score, more in facts]
    return sorted(ranked, key=lambda one: -one.score)
