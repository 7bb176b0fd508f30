"""Captions and pictures as an unCLIP's networks know them: by a frozen reader, a frozen CLIP and a fitted space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.conditions import Conditions, texts
from pinxit.recipes.unclip.space import Space
from pinxit.text.encoders import TextEncoder

if TYPE_CHECKING:
    from pinxit.types import Picture


class Embeds(Protocol):
    """What the networks of a checkpoint are told by. Shapes: E embedding, K coordinates, L text positions."""

    @property
    def space(self) -> Space:
        """In whose coordinates the decoder knows pictures."""

    def conditions(self, caption: str) -> Conditions:
        """A caption as the prior is told it, cut as in training: `sequence` [L, D], `mask` [L], `pooled` [E]."""

    def captions(self, texts: Sequence[str], cut: bool = True) -> Tensor:
        """CLIP's embeddings of captions, [B, E]. Raises UsageError for one too long, unless it may be `cut`."""

    def pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """CLIP's embeddings of pictures of any size, by their centre squares, [B, E]."""

    @property
    def nothing(self) -> Conditions:
        """What is told of no caption and no picture: as a caption's, and `image` [K]."""


@dataclass(frozen=True)
class Embedder:
    """A reader of a family of its own beside a CLIP, whose embeddings have length one; nothing is zeros."""

    reader: TextEncoder
    clip: ClipEncoder
    space: Space
    device: torch.device

    def conditions(self, caption: str) -> Conditions:
        """A caption as the prior is told it, cut as in training: `sequence` [L, D], `mask` [L], `pooled` [E]."""
        read = {name: rows[0].to(self.device) for name, rows in texts(self.reader, [caption]).items()}
        return read | {"pooled": self.captions([caption])[0]}

    def captions(self, texts: Sequence[str], cut: bool = True) -> Tensor:
        """CLIP's embeddings of captions, [B, E] of length one. Raises UsageError for one too long, not to be `cut`."""
        return torch.from_numpy(self.clip.texts(list(texts), cut=cut)).to(self.device)

    def pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """CLIP's embeddings of pictures of any size, by their centre squares, [B, E] of length one."""
        return torch.from_numpy(self.clip.pictures(list(pictures))).to(self.device)

    @cached_property
    def nothing(self) -> Conditions:
        """No caption and no embedding: `sequence`, `mask` and `image`."""
        conditions = {name: rows[0].to(self.device) for name, rows in texts(self.reader, [""]).items()}
        return conditions | {"image": torch.zeros(self.space.config.components, device=self.device)}
