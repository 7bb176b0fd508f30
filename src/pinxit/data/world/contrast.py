"""Whether a sprite in its natural colours is seen against a ground, measured on its pixels."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from pinxit.data.world.draw.places import ground_tones
from pinxit.data.world.draw.sprites import raster

NEAR = 70  # two colours nearer than this (Euclidean, RGB) run together at 64 pixels
MELTED = 0.5  # a sprite is lost where more than this share of its rim, or of all of it, is near the ground's colour
_RIM = 3  # pixels of the sprite, of about 112


@cache
def sprite_stands_out(name: str, artist: str, place: str) -> bool:
    """Whether most of the sprite's rim, and most of the sprite, differ from every large tone of the ground."""
    for colours in _rim_and_body(name, artist):
        for tone in ground_tones(place):
            away = colours - np.array(tone, np.int32)
            if np.count_nonzero((away * away).sum(axis=1) < NEAR * NEAR) > MELTED * len(colours):
                return False
    return True


@lru_cache(maxsize=64)  # the grounds are asked about one after another
def _rim_and_body(name: str, artist: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The colours along the sprite's edge, and all of them: int32 [pixels, 3] each."""
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
    return pixels[solid & ~inner[1:-1, 1:-1]][:, :3], pixels[solid][:, :3]
