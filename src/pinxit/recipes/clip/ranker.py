"""Any CLIP, or none, as the ranker of candidates, for painters whose checkpoint has no CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pinxit.models.clip import CLIP
from pinxit.pipelines.lanes import tile_of
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.ranking import CPU_PICTURES, Ranker

if TYPE_CHECKING:
    from pinxit.types import Picture


class AnyRanker(Ranker):
    """Ranks candidates by any CLIP; without one it keeps the order in which they were drawn, with scores of 0."""

    def __init__(self, encoder: ClipEncoder | None) -> None:
        self.encoder, self.batch = encoder, CPU_PICTURES if encoder is None else encoder.batch

    @classmethod
    def open(cls, clip: str | Path, device: str) -> AnyRanker:
        """Ranks by a CLIP, as `ClipEncoder.open` takes it, a few pictures a call: candidates fill no large batch.

        Raises CheckpointError as that does.
        """
        encoder = ClipEncoder.open(clip, device)
        encoder.batch = tile_of(encoder.device, CPU_PICTURES)
        return cls(encoder)

    @property
    def clip(self) -> CLIP | None:  # type: ignore[override]
        """Its network; None without a CLIP."""
        return None if self.encoder is None else self.encoder.model

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to give logits."""
        return 1.0 if self.encoder is None else self.encoder.scale

    @property
    def fingerprint(self) -> str:
        """Of the CLIP; "" without one."""
        return "" if self.encoder is None else self.encoder.fingerprint

    def embed(self, pictures: Sequence[Picture]) -> Sequence[Tensor | None]:
        """An embedding [E] of each; None without a CLIP."""
        return (
            [None] * len(pictures) if self.encoder is None else list(torch.from_numpy(self.encoder.pictures(pictures)))
        )

    def text(self, text: str) -> Tensor:
        """The sentence's embedding [E]; of width 0 without a CLIP."""
        return torch.zeros(0) if self.encoder is None else torch.from_numpy(self.encoder.texts([text], cut=True)[0])

    def scores(self, text: str, embeddings: Sequence[Tensor], agreement: float) -> list[float]:
        """The score of each embedding; all 0 without a CLIP."""
        return [0.0] * len(embeddings) if self.encoder is None else super().scores(text, embeddings, agreement)
