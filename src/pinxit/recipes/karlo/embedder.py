"""CLIP's embeddings of captions and pictures, the conditions of Karlo's networks.

Unlike elsewhere they are not normalised: Karlo was trained on the outputs of CLIP's projections as they are.
"""

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
from pinxit.texts import counted, printable

if TYPE_CHECKING:
    from pinxit.types import Picture

AT_ONCE = 64  # captions of a call, whose sequences are all in memory


@dataclass(frozen=True)
class KarloEmbedder:
    """Computes the conditions of prior and decoder. Shapes: B rows, E embedding, L text positions, D text width."""

    reader: TextEncoder  # CLIP's text tower
    clip: ClipEncoder | None  # both towers; None if the folder has no image tower
    without: Tensor  # [E], the decoder's learned null image embedding
    name: str
    device: torch.device

    def conditions(self, caption: str) -> Conditions:
        """`sequence` [L, D], `mask` [L], True from the start token to the end token, and `pooled` [E] of a caption.

        The empty caption gives the unconditional ones.
        """
        encoded = self.reader.encode([caption])
        found = {"sequence": encoded.sequence, "mask": encoded.mask, "pooled": encoded.pooled}
        return {name: rows[0].to(self.device) for name, rows in found.items()}

    def captions(self, texts: Sequence[str], cut: bool = True) -> Tensor:
        """CLIP's embeddings of captions, [B, E]. Raises UsageError for one that is too long, unless `cut`."""
        for text in texts if not cut else ():
            if over := self.reader.tokens_over_limit(text):
                raise UsageError(
                    f"'{printable(text[:60])}' is {counted(over, 'token')} longer than CLIP reads: shorten it."
                )
        return self.reader.encode(list(texts)).pooled.to(self.device)

    def pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """CLIP's embeddings of the centre squares of pictures of any size, [B, E].

        Raises UsageError if the folder has no image tower.
        """
        clip = self.sight()
        tower = clip.model.visual
        assert isinstance(tower, VisionTower), "the only kind of image tower that transformers has for CLIP"
        features = torch.from_numpy(clip.features(list(pictures))).to(self.device)
        return features @ tower.proj.to(self.device)

    def sight(self) -> ClipEncoder:
        """The CLIP with an image tower. Raises UsageError if the folder has none."""
        if self.clip is None:
            problem = f"{self.name} has no image_encoder, without which it cannot encode pictures"
            raise UsageError(f"{problem}: put that folder and feature_extractor of Karlo's image variations there.")
        return self.clip

    @cached_property
    def space(self) -> Space:
        """The identity: the decoder takes embeddings without a change of coordinates."""
        one = torch.ones(len(self.without))
        return Space.standard(0 * one, one).to(self.device)

    @cached_property
    def null_conditions(self) -> Conditions:
        """The null conditions for guidance: those of the empty caption, and the null image embedding."""
        return self.conditions("") | {"image": self.without.to(self.device)}


class UnnormalisedClip:
    """Karlo's CLIP as an `ImageTextEncoder` for `data.vectors`, except that its embeddings are not normalised."""

    def __init__(self, embedder: KarloEmbedder) -> None:
        self.embedder, sight = embedder, embedder.sight()
        self.name, self.size, self.width, self.batch = embedder.name, sight.size, sight.width, sight.batch
        self.fingerprint = f"{sight.fingerprint} projected"

    def pictures(self, pictures: Sequence[Picture], /) -> Any:
        """Embeddings float32 [B, E] of pictures of any size."""
        return self.embedder.pictures(pictures).cpu().numpy()

    def texts(self, texts: Sequence[str], /, cut: bool = False) -> Any:
        """Embeddings float32 [B, E] of texts; those that are too long are truncated, whatever `cut` is."""
        parts = [self.embedder.captions(texts[first : first + AT_ONCE]) for first in range(0, len(texts), AT_ONCE)]
        return torch.cat([part.cpu() for part in parts]).numpy() if parts else np.zeros((0, self.width), np.float32)
