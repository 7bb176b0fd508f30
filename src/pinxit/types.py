"""The values that travel: Prompt -> Tokens -> Condition -> Codes | Latents -> Pixels -> Ranked.

Read this file first: every recipe is a chain of functions over these plain values. Tensor shapes use
B batch, L text positions, D width, E pooled width, H and W rows and columns, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Picture = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
    """One picture: uint8 array of shape [H, W, 3], RGB."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the user asked for. (text, seed, candidate) names one picture for ever."""

    text: str
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """Text as numbers: `ids` int64 [B, L]; positions after the text hold the tokenizer's pad id (0)."""

    ids: Tensor


@dataclass(frozen=True, slots=True)
class Condition:
    """Text as a generator sees it."""

    sequence: Tensor  # [B, L, D]
    pooled: Tensor  # [B, E]
    mask: Tensor  # bool [B, L], True where there is text


@dataclass(frozen=True, slots=True)
class Codes:
    """A picture as discrete codes: `ids` int64 [B, H, W], raster order when flattened."""

    ids: Tensor


@dataclass(frozen=True, slots=True)
class Latents:
    """A picture, or part of one, as continuous numbers: [B, C, H, W]."""

    values: Tensor


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pictures as floats in [0, 1]: [B, 3, H, W]."""

    values: Tensor


@dataclass(frozen=True, slots=True)
class Ranked:
    """One finished picture with its score; lists of these are sorted best first."""

    picture: Picture
    seed: int
    candidate: int
    score: float


@dataclass(frozen=True, slots=True)
class Example:
    """One training item: a picture, every caption known for it, and a name to report it by."""

    picture: Picture
    captions: tuple[str, ...]
    key: str
    facts: Any = field(default=None, compare=False)  # the world puts its Scene here; other sources leave None


class Dataset(Protocol):
    """Anything with a length and items by index; item i is the same every time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...
