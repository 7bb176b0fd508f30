"""From rows of a bank to what a step of training takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pinxit.data.transforms import square
from pinxit.schema import Share

Pictures = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Chance = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def unit_range(pictures: Tensor) -> Tensor:
    """uint8 [B, S, S, 3] as float [B, 3, S, S] in [0, 1], channels last in memory as they came."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def fitted(pictures: Pictures, side: int) -> Pictures:
    """Stored pictures [N, S, S, 3] at another side: shrunk by area where they are stored larger."""
    if pictures.shape[1] == side:
        return np.asarray(pictures)
    return np.stack([square(picture, side, "area") for picture in pictures])


@dataclass(frozen=True, slots=True)
class Augment:
    """How training pictures are varied, each on its own."""

    shift: Share = 0.0  # moved by up to this share of the side, what is uncovered repeating the edge
    mirror: bool = False  # half of them left to right: for data whose captions do not speak of sides


def augmented(pictures: Pictures, augment: Augment, chance_N3: Chance) -> Pictures:
    """Pictures [N, S, S, 3], shifted and mirrored by three numbers even in [0, 1) for each."""
    side = pictures.shape[1]
    most = round(augment.shift * side)
    if augment.mirror:
        pictures = np.where(chance_N3[:, :1, None, None] < 0.5, pictures[:, :, ::-1], pictures)
    if most:
        padded = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
        corners = below(2 * most + 1, chance_N3[:, 1:]).tolist()
        cut = [one[y : y + side, x : x + side] for one, (y, x) in zip(padded, corners, strict=True)]
        pictures = np.stack(cut)
    return pictures


def pick(captions: Sequence[str], chance: float) -> str:
    """One of a picture's captions, by a number even in [0, 1)."""
    return captions[int(chance * len(captions))]


def below(counts: int | Sequence[int], chance: Chance) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Whole numbers from 0 to below `counts`, by numbers even in [0, 1)."""
    found: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = (chance * np.asarray(counts)).astype(np.int64)
    return found
