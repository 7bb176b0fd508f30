"""Turns rows of a bank into a training batch: range, size, augmentation and the choice of a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pinxit.data.transforms import square_crop
from pinxit.schema import Share

Pictures = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Chance = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def unit_range(pictures: Tensor) -> Tensor:
    """uint8 [B, S, S, 3] as float [B, 3, S, S] in [0, 1]; the permuted view keeps the channels-last memory layout."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def resized(pictures: Pictures, side: int) -> Pictures:
    """Stored pictures [N, S, S, 3] resized to `side` by area averaging, unless they have it already."""
    if pictures.shape[1] == side:
        return np.asarray(pictures)
    return np.stack([square_crop(picture, side, "area") for picture in pictures])


@dataclass(frozen=True, slots=True)
class Augment:
    """Augmentation of training pictures, drawn for each one independently."""

    shift: Share = 0.0  # largest shift, as a share of the side; the uncovered border repeats the edge
    mirror: bool = False  # flip half of them horizontally: only for data whose captions never say left or right


def augmented(pictures: Pictures, augment: Augment, chance_N3: Chance) -> Pictures:
    """Pictures [N, S, S, 3], mirrored and shifted by three uniform numbers in [0, 1) for each."""
    side = pictures.shape[1]
    most = round(augment.shift * side)
    if augment.mirror:
        pictures = np.where(chance_N3[:, :1, None, None] < 0.5, pictures[:, :, ::-1], pictures)
    if most:
        padded = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
        corners = random_integers(2 * most + 1, chance_N3[:, 1:]).tolist()
        cut = [one[y : y + side, x : x + side] for one, (y, x) in zip(padded, corners, strict=True)]
        pictures = np.stack(cut)
    return pictures


def pick_caption(captions: Sequence[str], chance: float) -> str:
    """One of a picture's captions, chosen by a uniform number in [0, 1)."""
    return captions[int(chance * len(captions))]


def random_integers(counts: int | Sequence[int], chance: Chance) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Integers in [0, `counts`), made from uniform numbers in [0, 1)."""
    found: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = (chance * np.asarray(counts)).astype(np.int64)
    return found
