"""Sources of random numbers for functions that work on rows: one stream for all rows, or one for each.

Shapes: B rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Protocol

import torch
from torch import Generator, Tensor

from pinxit.functional import keyed


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
        return torch.rand(shape, generator=self.generator, device=self.generator.device, dtype=torch.float32)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device, dtype=torch.float32)


class RowStreams:
    """Each row from a stream of its own: what a row gets depends on its key, and not on the other rows.

    On a CPU by a generator a row; on a GPU, where that would be a kernel a row, by hashing keys (`functional.keyed`).
    """

    def __init__(self, keys: Iterable[int], device: str | torch.device = "cpu", hashed: bool | None = None) -> None:
        """`hashed`: None for what suits the device."""
        self.device, self.keys = torch.device(device), list(keys)
        self.hashed = self.device.type not in ("cpu", "meta") if hashed is None else hashed
        self._used = 0  # words of each row's hashed sequence

    @cached_property
    def generators(self) -> list[Generator]:
        """One for each row."""
        return [Generator(self.device).manual_seed(key) for key in self.keys]

    def uniform(self, *shape: int) -> Tensor:
        if self.hashed:
            return self._hashed(keyed.uniform, shape, 1)
        out = torch.empty(shape, device=self.device, dtype=torch.float32)
        for row, generator in self._rows(out):
            row.uniform_(generator=generator)
        return out

    def normal(self, *shape: int) -> Tensor:
        if self.hashed:
            return self._hashed(keyed.normal, shape, 2)
        out = torch.empty(shape, device=self.device, dtype=torch.float32)
        for row, generator in self._rows(out):
            row.normal_(generator=generator)
        return out

    def _hashed(self, draw: Callable[[Tensor, int, int], Tensor], shape: tuple[int, ...], of_a_word: int) -> Tensor:
        """The next numbers of every row; `of_a_word`: how many `draw` makes of each word."""
        count = math.prod(shape[1:])
        numbers = draw(self._rows_keys[: shape[0]], self._used, count)
        self._used += -(-count // of_a_word)
        return numbers.reshape(shape)

    @cached_property
    def _rows_keys(self) -> Tensor:
        return torch.tensor(self.keys, dtype=torch.int64).to(self.device)

    def _rows(self, out: Tensor) -> Iterable[tuple[Tensor, Generator]]:
        """Each row, flattened, with its generator; nothing if rows are empty."""
        if not out.numel():
            return ()
        return zip(out.flatten(1) if out.ndim > 1 else out[:, None], self.generators, strict=True)
