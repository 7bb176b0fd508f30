"""CLIP's symmetric loss (Radford et al. 2021, figure 3), whole or a slice of rows at a time.

Shapes: B pictures of the batch, b rows of a slice, N columns, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def shared_targets(rows_b: Tensor, columns_N: Tensor) -> Tensor:
    """Soft targets [b, N] from group ids: a row's probability is spread evenly over the columns of its group.

    Equal captions in one batch get equal group ids; otherwise a correct match would count as a wrong one.
    """
    same_bN = (rows_b[:, None] == columns_N[None, :]).float()
    return same_bN / same_bN.sum(1, keepdim=True)


def side_loss(
    rows_bE: Tensor,
    columns_NE: Tensor,
    scale: Tensor | float,
    offset: int = 0,
    groups: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Cross-entropy of each row against all columns, mean over rows; row i belongs to column `offset + i`.

    `groups` (row ids [b], column ids [N]) replaces the single right column by `shared_targets`. A batch may be cut
    into slices (memory, ranks): the mean of the slices' losses, weighted by their rows, is the loss of the whole.
    Logits are computed in 32 bits, also under autocast.
    """
    with torch.autocast(rows_bE.device.type, enabled=False):  # a logit of 30 in 16 bits is off by up to 0.06
        logits_bN = scale * rows_bE.float() @ columns_NE.float().T
    if groups is not None:
        return F.cross_entropy(logits_bN, shared_targets(*groups))
    right = torch.arange(offset, offset + len(rows_bE), device=rows_bE.device)
    return F.cross_entropy(logits_bN, right)


def contrastive_loss(
    image_BE: Tensor,
    text_BE: Tensor,
    scale: Tensor | float,
    groups_B: Tensor | None = None,
) -> Tensor:
    """Mean of the picture-to-text and text-to-picture cross-entropies; embeddings have length one.

    `groups_B`: integer ids, equal where captions say the same.
    """
    groups = None if groups_B is None else (groups_B, groups_B)
    to_text = side_loss(image_BE, text_BE, scale, groups=groups)
    to_image = side_loss(text_BE, image_BE, scale, groups=groups)
    return (to_text + to_image) / 2
