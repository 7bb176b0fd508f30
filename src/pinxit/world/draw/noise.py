"""Random numbers that depend on (seed, name) alone, equal on every machine and for every NumPy version.

SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators") over a counter whose
start is a hash of the key; integer arithmetic only, so nothing rests on a platform's mathematics library.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def bits(seed: int, name: str, count: int) -> NDArray[np.uint64]:
    """`count` independent 64-bit words of the stream (seed, name)."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    start = np.array(int.from_bytes(digest, "little"), np.uint64)
    z = start + np.arange(1, count + 1, dtype=np.uint64) * _STEP
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def uniforms(seed: int, name: str, count: int) -> list[float]:
    """`count` numbers, uniform in [0, 1)."""
    values: list[float] = ((bits(seed, name, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53).tolist()
    return values


def field(seed: int, name: str, height: int, width: int) -> NDArray[np.int32]:
    """White noise: int32 [height, width], uniform in 0..255."""
    grey: NDArray[np.int32] = (bits(seed, name, height * width) >> np.uint64(56)).astype(np.int32)
    return grey.reshape(height, width)
