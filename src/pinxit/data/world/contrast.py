"""Whether a sprite in its natural colours is seen against a ground, measured on its pixels."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pinxit.data.world.draw.places import ground_tones
from pinxit.data.world.draw.sprites import raster

NEAR = 60  # two colours nearer than this (Euclidean, RGB) run together at 64 pixels
MELTED = 0.5  # a sprite with more than this share of its rim near the ground's colour is lost there
_RIM = 3  # pixels of the sprite, of about 112


@cache
def sprite_stands_out(name: str, artist: str, place: str) -> bool:
    """Whether at least half of the sprite's rim differs from every large tone of the ground."""
    rim = _rim(name, artist)
    for tone in ground_tones(place):
        away = rim - np.array(tone, np.int32)
        if np.count_nonzero((away * away).sum(axis=1) < NEAR * NEAR) > MELTED * len(rim):
            return False
    return True


@cache
def _rim(name: str, artist: str) -> NDArray[np.int32]:
    """The colours along the sprite's edge: int32 [pixels, 3]."""
    pixels = np.asarray(raster(name, artist)).astype(np.int32)
    solid = pixels[..., 3] >= 128
    inner = np.pad(solid, 1)
    for _ in range(_RIM):
        grown = inner.copy()
        grown[1:] &= inner[:-1]
        grown[:-1] &= inner[1:]
        grown[:, 1:] &= inner[:, :-1]
        grown[:, :-1] &= inner[:, 1:]
        inner = grown
    rim: NDArray[np.int32] = pixels[solid & ~inner[1:-1, 1:-1]][:, :3]
    return rim
