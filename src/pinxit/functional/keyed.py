"""Random numbers as a hash of (key, index), for many rows at once: on a GPU a generator a row is a kernel a row.

Row b's numbers are SplitMix64's with seed `keys_B[b]` (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number
Generators"; `data.order.mix` in torch), in 64-bit integers that wrap around. Shapes: B rows, N numbers of each.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WORD = 64  # bits


def words(keys_B: Tensor, first: int, count: int) -> Tensor:
    """Numbers `first` to `first + count` of each row's sequence, int64 [B, N], every bit of them random."""
    steps_N = torch.arange(first + 1, first + count + 1, device=keys_B.device)
    x = keys_B[:, None] + steps_N * _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def uniform(keys_B: Tensor, first: int, count: int) -> Tensor:
    """Uniform numbers in [0, 1), float32 [B, N], one of each word."""
    return _shifted(words(keys_B, first, count), 40).float() * 2.0**-24


def normal(keys_B: Tensor, first: int, count: int) -> Tensor:
    """Standard normal numbers, float32 [B, N], two of each word, by Box and Muller (1958); |x| is below 6.7."""
    word_BM = words(keys_B, first, (count + 1) // 2)
    radius_BM = (-2 * ((_shifted(word_BM, 32) + 1).float() * 2.0**-32).log()).sqrt()
    angle_BM = (word_BM & 0xFFFFFFFF).float() * (2 * math.pi * 2.0**-32)
    return torch.cat([radius_BM * angle_BM.cos(), radius_BM * angle_BM.sin()], 1)[:, :count]


def _signed(word: int) -> int:
    return word - 2**WORD if word >= 2 ** (WORD - 1) else word


def _shifted(x: Tensor, bits: int) -> Tensor:
    """`x` moved right by `bits`, with zeros from the left."""
    moved: Tensor = x >> bits
    return moved & ((1 << (WORD - bits)) - 1)
