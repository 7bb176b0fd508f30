"""Random draws of training: each is a function of (seed, purpose, position), so there is no generator state to save.

The position of a picture is the number of pictures seen before it in the run. Its draws therefore do not depend on how
the batch is cut into micro-batches or shared among ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from pinxit.data.order import mix
from pinxit.functional.draws import RowStreams
from pinxit.models.torch_defaults import default_float32
from pinxit.training.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]
    from torch import Generator

T = TypeVar("T")

DRAWS = 2  # version of this scheme, stored with a run; raise it when a change makes pictures' random numbers differ


def key(seed: int, purpose: str, position: int = 0) -> int:
    """A 63-bit number that differs for any two (seed, purpose, position)."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def numpy_rng(seed: int, purpose: str, position: int = 0) -> np.random.Generator:
    """The NumPy generator for one purpose at one position."""
    return np.random.default_rng(key(seed, purpose, position))


def uniforms(seed: int, purpose: str, rows: Rows, n: int = 1) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), `n` for each picture, float64 [B, n]: SplitMix64 of its position."""
    named: Words = rows.positions.astype(np.uint64) ^ np.uint64(key(seed, purpose))
    columns: Words = np.arange(n, dtype=np.uint64)
    return (mix(np.add(mix(named)[:, None], columns, dtype=np.uint64)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def row_rngs(seed: int, purpose: str, rows: Rows) -> list[np.random.Generator]:
    """A NumPy generator for each picture, for code that draws a varying amount."""
    return [numpy_rng(seed, purpose, position) for position in rows.positions.tolist()]


def row_streams(seed: int, purpose: str, rows: Rows, device: str | torch.device = "cpu") -> RowStreams:
    """Random tensors on `device` with one row a picture, each row from a stream of its own."""
    return RowStreams((key(seed, purpose, position) for position in rows.positions.tolist()), device)


def torch_rng(seed: int, purpose: str, position: int = 0, device: str | torch.device = "cpu") -> Generator:
    """The torch generator for one purpose at one position, on `device`."""
    return torch.Generator(device).manual_seed(key(seed, purpose, position))


_alone = RLock()  # threads share the global generator


def seeded(build: Callable[[], T], seed: int, purpose: str) -> T:
    """`build()` with torch's global CPU generator seeded for it, and restored afterwards.

    For constructors that draw their initial weights from torch's global generator, and for dropout. Device and autocast
    stay as they are: costs are counted on the meta device, and a step may run in bfloat16.
    """
    with _alone, default_float32, torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, purpose))
        return build()
