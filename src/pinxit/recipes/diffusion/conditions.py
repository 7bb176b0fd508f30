"""The conditions of a network of the cascade: the text, and for an upsampler the smaller picture.

The same code serves training and painting, so that a network gets in painting what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.functional.diffusion import q_sample
from pinxit.pipelines.denoise import Conditions as Conditions
from pinxit.recipes.diffusion.schedule import TIMES, DiffusionConfig

if TYPE_CHECKING:
    from pinxit.recipes.diffusion.config import StageConfig
    from pinxit.text.encoders import TextEncoder


def texts(reader: TextEncoder, captions: Sequence[str], batch: int = 1) -> Conditions:
    """`sequence` float32 [B, L, D] and `mask` bool [B, L], which is False everywhere for an empty caption."""
    encoded = reader.encode(captions, batch)
    given = torch.tensor([bool(caption) for caption in captions], device=encoded.mask.device)
    return {"sequence": encoded.sequence, "mask": encoded.mask & given[:, None]}


class Captions:
    """A caption as conditions for the networks of a cascade, by one text encoder."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def __call__(self, caption: str) -> tuple[Conditions, Conditions]:
        """The conditions of one picture, and the unconditional ones: here the same with the text masked."""
        conditions = {name: rows[0] for name, rows in texts(self.encoder, [caption]).items()}
        return conditions, conditions | {"mask": torch.zeros_like(conditions["mask"])}

    def tokens_over_limit(self, caption: str) -> int:
        """How many tokens of the caption will be dropped; 0 when it fits."""
        return self.encoder.tokens_over_limit(caption)

    def unknown_words(self, caption: str) -> list[str]:
        """Words of the caption that the encoder has no token for, or never met in training."""
        return self.encoder.unknown_words(caption)


@dataclass(frozen=True)
class Noising:
    """How an upsampler's smaller picture is enlarged and noised: conditioning augmentation (Imagen, section 2.4).

    Enlarged first, then noised, as DeepFloyd IF does. Without `align_corners` every small pixel stays centred on the
    large ones that it is the mean of, so that the condition of a crop is a crop of the condition; DeepFloyd IF aligns
    corners.
    """

    schedule: DiffusionConfig = field(default_factory=DiffusionConfig)
    align_corners: bool = False
    way: Literal["bilinear", "bicubic"] = "bilinear"  # interpolation mode; bicubic: as Pillow does it (Karlo)

    def plain(self, small: Tensor, size: int) -> Conditions:
        """`low_res` alone, without noise, for a network that was trained on blurred pictures instead (unCLIP)."""
        how: dict[str, Any] = {"mode": self.way, "align_corners": self.align_corners}
        return {"low_res": F.interpolate(small, (size, size), antialias=self.way == "bicubic", **how)}

    def __call__(self, small: Tensor, level_B: Tensor, noise: Tensor) -> Conditions:
        """`low_res` [B, 3, S, S] from `small` [B, 3, s, s] and `noise` of the large shape, and `augmentation` [B].

        `level_B`: times of the schedule in [0, 1]; on a continuous one 0 adds no noise at all.
        """
        large = self.plain(small, noise.shape[-1])["low_res"]
        if T := self.schedule.steps:
            t_B = (level_B.double() * T).round().long().clamp(max=T - 1)
            noisy = q_sample(large, noise, self.schedule.table.sigma.to(t_B.device)[t_B])
            return {"low_res": noisy, "augmentation": t_B.float()}
        noisy = q_sample(large, noise, self.schedule.sigma_at(level_B))
        low_res = torch.where((level_B == 0)[:, None, None, None], large, noisy)
        return {"low_res": low_res, "augmentation": TIMES * level_B.float()}


def noising_of(config: StageConfig) -> Noising:
    """How an upsampler's smaller pictures are enlarged and noised, in training and in painting."""
    return Noising(DiffusionConfig(steps=config.noised), align_corners=True) if config.noised else Noising()
