"""Best first: candidates sorted by how well an encoder finds that picture and sentence agree.

Works on any encoder of pictures; batches have one fixed shape, so a picture's score never depends on its company.
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
    """`encode` over `rows` [N, ...] in batches of exactly `batch` (the last one filled up with zeros), [N, E]."""
    parts = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        short = batch - len(part)
        if short:
            part = torch.cat([part, part.new_zeros(short, *part.shape[1:])])
        parts.append(encode(part)[: batch - short])
    return torch.cat(parts)


def to_tensor(pictures: Sequence[Picture]) -> Tensor:
    """Pictures uint8 [H, W, 3] of one size -> float [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def cosines(
    encode_image: Callable[[Tensor], Tensor], text_E: Tensor, pictures: Sequence[Picture], batch: int = 16
) -> list[float]:
    """Cosine of every picture's embedding with `text_E`; neither needs to have length one."""
    image_NE = encode_fixed(encode_image, to_tensor(pictures).to(text_E.device), batch).double().cpu()
    text_E = text_E.double().cpu()
    # Row by row: a matrix product may sum in another order when there are more rows.
    return [float((row * text_E).sum() / (row.norm() * text_E.norm())) for row in image_NE]


def rank(
    encode_image: Callable[[Tensor], Tensor],
    text_E: Tensor,
    pictures: Sequence[Picture],
    seeds: Sequence[int],
    candidates: Sequence[int],
    batch: int = 16,
) -> list[Ranked]:
    """Pictures (uint8 [H, W, 3]) with their cosine to the sentence, best first; equal scores keep the given order.

    `encode_image` maps float [batch, 3, H, W] in [0, 1] to [batch, E]; `text_E` is the sentence's embedding.
    Raises ValueError when the lists differ in length.
    """
    if not pictures:
        return []
    scores = cosines(encode_image, text_E, pictures, batch)
    found = [Ranked(*facts) for facts in zip(pictures, seeds, candidates, scores, strict=True)]
    return sorted(found, key=lambda one: -one.score)
