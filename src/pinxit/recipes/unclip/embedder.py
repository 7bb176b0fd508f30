"""Captions and pictures as conditions of an unCLIP's networks: a frozen text encoder, a frozen CLIP, a fitted space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from pinxit.models.clip import CLIP
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.conditions import Conditions, texts
from pinxit.recipes.unclip.space import Space
from pinxit.text.encoders import TextEncoder

if TYPE_CHECKING:
    from pinxit.types import Picture


class Embeds(Protocol):
    """Computes the conditions of a checkpoint's networks. Shapes: E embedding, K coordinates, L text positions."""

    @property
    def clip(self) -> ClipEncoder | None:
        """The CLIP of the embeddings; None if it has no picture tower."""

    @property
    def space(self) -> Space:
        """The coordinates in which the decoder takes embeddings."""

    def conditions(self, caption: str) -> Conditions:
        """The prior's conditions of a caption, cut as in training: `sequence` [L, D], `mask` [L], `pooled` [E]."""

    def captions(self, texts: Sequence[str], cut: bool = True) -> Tensor:
        """CLIP embeddings of captions, [B, E]. Raises UsageError for one that is too long, unless `cut`."""

    def pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """CLIP embeddings of the centre squares of pictures of any size, [B, E]."""

    @property
    def null_conditions(self) -> Conditions:
        """The conditions without caption and picture, for guidance: those of a caption, and `image` [K]."""


def network_of(embedder: Embeds) -> CLIP | None:
    """The CLIP of its embeddings, for gradients; None if it has no picture tower."""
    return None if embedder.clip is None else embedder.clip.model


@dataclass(frozen=True)
class Embedder:
    """A text encoder of any family beside a CLIP with normalised embeddings; the null conditions are zeros."""

    reader: TextEncoder
    clip: ClipEncoder
    space: Space
    device: torch.device

    def conditions(self, caption: str) -> Conditions:
        """The prior's conditions of a caption, cut as in training: `sequence` [L, D], `mask` [L], `pooled` [E]."""
        read = {name: rows[0].to(self.device) for name, rows in texts(self.reader, [caption]).items()}
        return read | {"pooled": self.captions([caption])[0]}

    def captions(self, texts: Sequence[str], cut: bool = True) -> Tensor:
        """Normalised CLIP embeddings of captions, [B, E]. Raises UsageError for one that is too long, unless `cut`."""
        return torch.from_numpy(self.clip.texts(list(texts), cut=cut)).to(self.device)

    def pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """Normalised CLIP embeddings of the centre squares of pictures of any size, [B, E]."""
        return torch.from_numpy(self.clip.pictures(list(pictures))).to(self.device)

    @cached_property
    def null_conditions(self) -> Conditions:
        """Those of the empty caption, and zeros for the embedding: `sequence`, `mask` and `image`."""
        conditions = {name: rows[0].to(self.device) for name, rows in texts(self.reader, [""]).items()}
        return conditions | {"image": torch.zeros(self.space.config.components, device=self.device)}
