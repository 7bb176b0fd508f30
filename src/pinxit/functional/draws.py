"""Sources of random numbers for functions that work on rows: one stream for all rows, or one for each.

Shapes: B rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Generator, Tensor


class Draws(Protocol):
    """Random tensors [B, ...], float32."""

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1)."""
        ...

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        ...


class OneStream:
    """All rows from one generator: what a row gets depends on those before it."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.generator.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device)


class RowStreams:
    """Each row from a generator of its own: what a row gets depends on its key, and not on the other rows."""

    def __init__(self, keys: Iterable[int], device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.generators = [Generator(self.device).manual_seed(key) for key in keys]

    def uniform(self, *shape: int) -> Tensor:
        out = torch.empty(shape, device=self.device)
        for row, generator in self._rows(out):
            row.uniform_(generator=generator)
        return out

    def normal(self, *shape: int) -> Tensor:
        out = torch.empty(shape, device=self.device)
        for row, generator in self._rows(out):
            row.normal_(generator=generator)
        return out

    def _rows(self, out: Tensor) -> Iterable[tuple[Tensor, Generator]]:
        """Each row, flattened, with its generator; nothing if rows are empty."""
        if not out.numel():
            return ()
        return zip(out.flatten(1) if out.ndim > 1 else out[:, None], self.generators, strict=True)
