"""The augmentation of pictures and text vectors in training: crops, degradations, noise on the text.

Shapes: B pictures, S their side, L text positions, D the width of a text's vectors.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pinxit.functional.bsr import degraded, gaussian_blur
from pinxit.functional.draws import Draws, RowStreams
from pinxit.recipes.batches import Chance, random_integers
from pinxit.recipes.diffusion.config import Corrupt


def corrupted(small: Tensor, how: Corrupt, draws: RowStreams) -> Tensor:
    """Smaller pictures in [-1, 1], degraded as in unCLIP (arXiv 2204.06125, section 2.1): a slight blur, or BSR."""
    if how == "blur":
        return gaussian_blur(small)
    each = zip((small + 1) / 2, draws.generators, strict=True)
    return torch.cat([degraded(one[None], generator) for one, generator in each]) * 2 - 1


def signed(pictures: Tensor) -> Tensor:
    """uint8 [B, S, S, 3] as float [B, 3, S, S] in [-1, 1], still channels-last in memory."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def blurred(sequence_BLD: Tensor, mask_BL: Tensor, most: float, draws: Draws) -> Tensor:
    """Text vectors with noise of up to `most` times their root mean square, of random and more often weak strength.

    The network then also learns the neighbourhood of its captions' vectors, where those of unseen words lie.
    """
    x_BLD = sequence_BLD.float()
    squares_B = (x_BLD.detach().square() * mask_BL[:, :, None]).sum((1, 2))
    size_B = (squares_B / (mask_BL.sum(1) * x_BLD.shape[2]).clamp(min=1)).sqrt()
    strength_B = most * draws.uniform(len(x_BLD)).square()
    return (x_BLD + (size_B * strength_B)[:, None, None] * draws.normal(*x_BLD.shape)).to(sequence_BLD.dtype)


def cropped(
    pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], side: int, grid: int, chance_B2: Chance
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A random crop of `side` pixels of each, aligned with the smaller picture's pixels (multiples of `grid`)."""
    whole = pictures.shape[1]
    if side == whole:
        return pictures
    corners = grid * random_integers((whole - side) // grid + 1, chance_B2)
    return np.stack([one[y : y + side, x : x + side] for one, (y, x) in zip(pictures, corners.tolist(), strict=True)])
