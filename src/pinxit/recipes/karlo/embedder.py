"""Captions and pictures as Karlo's networks know them: by the towers of one CLIP, as their projections end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.models.clip import VisionTower
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.conditions import Conditions
from pinxit.recipes.unclip.space import Space
from pinxit.text.encoders import TextEncoder
from pinxit.texts import printable

if TYPE_CHECKING:
    from pinxit.types import Picture

AT_ONCE = 64  # captions of which all is in memory


@dataclass(frozen=True)
class KarloEmbedder:
    """What prior and decoder are told by. Shapes: E embedding, L text positions, D text width."""

    reader: TextEncoder  # CLIP's text tower
    clip: ClipEncoder | None  # both towers; None: its folder has none that sees
    without: Tensor  # [E], what the decoder learned to take for no picture
    name: str
    device: torch.device

    def conditions(self, caption: str) -> Conditions:
        """`sequence` [L, D], `mask` [L], True from start to end, and `pooled` [E]; an empty caption has these too."""
        read = self.reader.encode([caption])
        found = {"sequence": read.sequence, "mask": read.mask, "pooled": read.pooled}
        return {name: rows[0].to(self.device) for name, rows in found.items()}

    def captions(self, texts: Sequence[str], cut: bool = True) -> Tensor:
        """CLIP's embeddings of captions, [B, E]. Raises UsageError for one too long, not to be `cut`."""
        for text in texts if not cut else ():
            if over := self.reader.tokens_over_limit(text):
                raise UsageError(f"'{printable(text[:60])}' is {over} tokens longer than CLIP reads: shorten it.")
        return self.reader.encode(list(texts)).pooled.to(self.device)

    def pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """CLIP's embeddings of pictures of any size, by their centre squares, [B, E]. Raises UsageError without one."""
        clip = self.sight()
        tower = clip.model.visual
        assert isinstance(tower, VisionTower), "transformers has no other"
        features = torch.from_numpy(clip.features(list(pictures))).to(self.device)
        return features @ tower.proj.to(self.device)

    def sight(self) -> ClipEncoder:
        """Who sees pictures. Raises UsageError where nobody does."""
        if self.clip is None:
            problem = f"{self.name} has no image_encoder, and without one sees no pictures"
            raise UsageError(f"{problem}: put that folder and feature_extractor of Karlo's image variations there.")
        return self.clip

    @cached_property
    def space(self) -> Space:
        """The decoder takes embeddings as they are."""
        one = torch.ones(len(self.without))
        return Space.standard(0 * one, one).to(self.device)

    @cached_property
    def nothing(self) -> Conditions:
        """What is told of no caption, the empty one's, and of no picture."""
        return self.conditions("") | {"image": self.without.to(self.device)}


class Projected:
    """Karlo's CLIP for vectors: its embeddings are as the projections give them, of any length."""

    def __init__(self, embedder: KarloEmbedder) -> None:
        self.embedder, sight = embedder, embedder.sight()
        self.name, self.size, self.width, self.fingerprint = (
            embedder.name,
            sight.size,
            sight.width,
            f"{sight.fingerprint} projected",
        )

    def pictures(self, pictures: Sequence[Picture], /) -> Any:
        """Rows [B, E] of pictures of any size."""
        return self.embedder.pictures(pictures).cpu().numpy()

    def texts(self, texts: Sequence[str], /, cut: bool = False) -> Any:
        """Rows [B, E] of sentences."""
        parts = [self.embedder.captions(texts[first : first + AT_ONCE]) for first in range(0, len(texts), AT_ONCE)]
        return torch.cat([part.cpu() for part in parts]).numpy() if parts else np.zeros((0, self.width), np.float32)
