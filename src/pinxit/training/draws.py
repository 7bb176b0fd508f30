"""Random draws of training, each named by (seed, purpose, images seen): nothing is carried from step to step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Generator

T = TypeVar("T")


def key(seed: int, purpose: str, position: int = 0) -> int:
    """A 63-bit number that differs for any two (seed, purpose, position)."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def numpy_rng(seed: int, purpose: str, position: int = 0) -> np.random.Generator:
    """The NumPy generator of one purpose at one place in training."""
    return np.random.default_rng(key(seed, purpose, position))


def torch_rng(seed: int, purpose: str, position: int = 0, device: str | torch.device = "cpu") -> Generator:
    """The torch generator of one purpose at one place in training, on `device`."""
    return torch.Generator(device).manual_seed(key(seed, purpose, position))


def seeded(build: Callable[[], T], seed: int, purpose: str) -> T:
    """`build()` under its own CPU random stream; the global one is left as it was found.

    For constructors that draw their initial weights from torch's global generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, purpose))
        return build()
