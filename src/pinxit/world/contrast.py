"""Whether a sprite in its natural colours is seen against a ground, measured on its pixels."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pinxit.world.draw.places import ground_tones
from pinxit.world.draw.sprites import raster
from pinxit.world.vocabulary import COLOURS, PLACES

NEAR = 70  # two colours nearer than this (Euclidean, RGB) cannot be distinguished at 64 pixels
MELTED = 0.5  # a sprite is lost where more than this share of its rim, or of all of it, is near the ground's colour
_RIM = 3  # pixels of the sprite, of about 112


def sprite_stands_out(name: str, artist: str, place: str) -> bool:
    """Whether most of the sprite's rim, and most of the sprite, differ from every large tone of the ground."""
    return place not in _lost_on(name, artist)


@cache
def _lost_on(name: str, artist: str) -> frozenset[str]:
    """The grounds on which this sprite cannot be seen."""
    tones, places = _all_tones()
    lost = np.zeros(len(tones), bool)
    for colours in _rim_and_body(name, artist):
        # |c - t|^2 = |c|^2 - 2 c.t + |t|^2, exact in float32 for bytes
        distances = (colours**2).sum(1)[:, None] - 2 * (colours @ tones.T) + (tones**2).sum(1)
        lost |= np.count_nonzero(distances < NEAR * NEAR, axis=0) > MELTED * len(colours)
    return frozenset(place for place, melts in zip(places, lost, strict=True) if melts)


@cache
def _all_tones() -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Every large tone of every ground, float32 [tones, 3], and the ground of each."""
    pairs = [(tone, place) for place in (*COLOURS, *PLACES) for tone in ground_tones(place)]
    return np.array([tone for tone, _ in pairs], np.float32), tuple(place for _, place in pairs)


def _rim_and_body(name: str, artist: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The colours along the sprite's edge, and all of them: float32 [pixels, 3] each."""
    pixels = np.asarray(raster(name, artist))
    solid = pixels[..., 3] >= 128
    inner = np.pad(solid, 1)
    for _ in range(_RIM):
        grown = inner.copy()
        grown[1:] &= inner[:-1]
        grown[:-1] &= inner[1:]
        grown[:, 1:] &= inner[:, :-1]
        grown[:, :-1] &= inner[:, 1:]
        inner = grown
    colours = pixels[..., :3]
    return colours[solid & ~inner[1:-1, 1:-1]].astype(np.float32), colours[solid].astype(np.float32)
