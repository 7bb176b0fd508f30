"""Who ranks DeepFloyd IF's candidates: its folders hold no CLIP, so any other may, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pinxit.pipelines.rank import best_first, scores
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.painting import Ranker
from pinxit.types import Ranked

if TYPE_CHECKING:
    from pinxit.types import Picture


class AnyRanker(Ranker):
    """Best first as a CLIP of any kind finds them; without one, in the order they were drawn, with scores of 0."""

    def __init__(self, encoder: ClipEncoder | None) -> None:
        self.encoder = encoder

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to give logits."""
        return 1.0 if self.encoder is None else self.encoder.scale

    def ranked(
        self,
        text: str,
        seed: int,
        pictures: Sequence[Picture],
        bonus: Sequence[float] | None = None,
        agreement: float = 0.0,
    ) -> list[Ranked]:
        """Candidates 0, 1, 2 ... best first by CLIP (`pipelines.rank.scores`), plus `bonus` where there is one."""
        found = [0.0] * len(pictures)
        if self.encoder is not None:
            images, told = self.encoder.pictures(pictures), self.encoder.texts([text], cut=True)[0]
            found = scores(torch.from_numpy(images), torch.from_numpy(told), agreement)
        return best_first(pictures, seed, found, bonus)
