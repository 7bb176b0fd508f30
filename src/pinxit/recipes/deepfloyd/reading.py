"""What DeepFloyd IF is given besides noise: a caption as its language model tells it, and the smaller picture."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.functional.diffusion import q_sample
from pinxit.recipes.deepfloyd.captions import clean_caption
from pinxit.recipes.deepfloyd.schedule import NoiseSchedule

if TYPE_CHECKING:
    from pinxit.text.encoders import TextEncoder

Told = dict[str, Tensor]


class CaptionReader:
    """Captions cleaned and read; the networks see all positions of the sequence, those after the text too."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def __call__(self, caption: str) -> Told:
        """`sequence` float32 [L, D]. Raises UsageError when cleaning leaves nothing of the caption."""
        cleaned = clean_caption(caption)
        if not cleaned:
            raise UsageError(f"'{caption}' has no word that DeepFloyd IF can read: write the prompt in English.")
        return {"sequence": self.encoder.encode([cleaned]).sequence[0]}

    @cached_property
    def null(self) -> Told:
        """What guidance leads away from: the empty caption as the language model tells it."""
        return {"sequence": self.encoder.null().sequence[0]}


def enlarged(small: Tensor, level: int, noise: Tensor, schedule: NoiseSchedule) -> Told:
    """The conditions of a stage II picture: `small` [3, s, s] enlarged and noised at step `level`, and that step.

    `noise` [3, S, S], standard normal, has the shape of the large picture.
    """
    large = F.interpolate(small[None], noise.shape[1:], mode="bilinear", align_corners=True)[0]
    low_res = q_sample(large, noise, float(schedule.ratios[level]))
    return {"low_res": low_res, "augmentation": torch.tensor(float(level))}
