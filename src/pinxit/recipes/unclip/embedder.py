"""Captions and pictures as an unCLIP's networks know them: by a frozen reader, a frozen CLIP and a fitted space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.conditions import Told, texts
from pinxit.recipes.unclip.space import Space
from pinxit.text.encoders import TextEncoder

if TYPE_CHECKING:
    from pinxit.types import Picture


@dataclass(frozen=True)
class Embedder:
    """What every network of a checkpoint is told by. Shapes: E embedding, K coordinates, L text positions."""

    reader: TextEncoder
    clip: ClipEncoder
    space: Space
    device: torch.device

    def told(self, caption: str) -> Told:
        """A caption as the prior is told it, cut as in training: `sequence` [L, D], `mask` [L], `pooled` [E]."""
        read = {name: rows[0].to(self.device) for name, rows in texts(self.reader, [caption]).items()}
        return read | {"pooled": self.captions([caption])[0]}

    def captions(self, texts: Sequence[str]) -> Tensor:
        """CLIP's embeddings of captions, [B, E] of length one."""
        return torch.from_numpy(self.clip.texts(list(texts), cut=True)).to(self.device)

    def pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """CLIP's embeddings of pictures of any size, by their centre squares, [B, E] of length one."""
        return torch.from_numpy(self.clip.pictures(list(pictures))).to(self.device)

    @cached_property
    def nothing(self) -> Told:
        """No caption at all: `sequence` and `mask`."""
        return {name: rows[0].to(self.device) for name, rows in texts(self.reader, [""]).items()}
