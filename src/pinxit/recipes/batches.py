"""From rows of a bank to what a step of training takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pinxit.data.transforms import square

Pictures = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def unit_range(pictures: Tensor) -> Tensor:
    """uint8 [B, S, S, 3] as float [B, 3, S, S] in [0, 1], channels last in memory as they came."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def fitted(pictures: Pictures, side: int) -> Pictures:
    """Stored pictures [N, S, S, 3] at another side: shrunk by area where they are stored larger."""
    if pictures.shape[1] == side:
        return np.asarray(pictures)
    return np.stack([square(picture, side, "area") for picture in pictures])


def pick(captions: Sequence[str], rng: np.random.Generator) -> str:
    """One of a picture's captions."""
    return captions[int(rng.integers(len(captions)))]
