"""What a network of the cascade is given besides noise: the text, and the smaller picture where it enlarges one.

The same code serves training and painting, so that a network meets in painting what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.functional.diffusion import q_sample, sigma_at
from pinxit.recipes.imagen.denoiser import TIMES

if TYPE_CHECKING:
    from pinxit.text.encoders import TextEncoder


def texts(reader: TextEncoder, captions: Sequence[str], batch: int = 1) -> dict[str, Tensor]:
    """`sequence` float32 [B, L, D] and `mask` bool [B, L]; an empty caption has no text at all: its mask is False."""
    found = reader.encode(captions, batch)
    there = torch.tensor([bool(caption) for caption in captions], device=found.mask.device)
    return {"sequence": found.sequence, "mask": found.mask & there[:, None]}


def told(reader: TextEncoder, caption: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What one picture is drawn for, and what guidance leads away from: the same with its text masked."""
    conditions = {name: rows[0] for name, rows in texts(reader, [caption]).items()}
    return conditions, conditions | {"mask": torch.zeros_like(conditions["mask"])}


def smaller(small: Tensor, level_B: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """An upsampler's conditions: the smaller picture [B, 3, s, s] enlarged and noised, [B, 3, S, S], and the level.

    Conditioning augmentation (Imagen, section 2.4): the level is a time of the cosine schedule in [0, 1], 0 leaving the
    picture as it is; `noise` has the large shape. Enlarged first, then noised, as DeepFloyd IF does; every small pixel
    stays over those that it is the mean of (no aligned corners), so that a crop's condition is a crop of the whole's.
    """
    large = F.interpolate(small, noise.shape[2:], mode="bilinear", align_corners=False)
    noisy = q_sample(large, noise, sigma_at("cosine", level_B))
    low_res = torch.where((level_B == 0)[:, None, None, None], large, noisy)
    return {"low_res": low_res, "augmentation": TIMES * level_B.float()}
