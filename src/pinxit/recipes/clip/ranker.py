"""Any CLIP as the ranker of candidates, for painters whose checkpoint holds none; or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pinxit.pipelines.rank import best_first, scores
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.painting import CPU_PICTURES, Drawn, Ranker
from pinxit.types import Ranked

if TYPE_CHECKING:
    from pinxit.types import Picture


class AnyRanker(Ranker):
    """Best first as a CLIP of any kind finds them; without one, in the order they were drawn, with scores of 0."""

    def __init__(self, encoder: ClipEncoder | None) -> None:
        self.encoder, self.batch = encoder, CPU_PICTURES if encoder is None else encoder.batch

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to give logits."""
        return 1.0 if self.encoder is None else self.encoder.scale

    def look(self, pictures: Sequence[Picture]) -> Sequence[Tensor | None]:
        """What it sees in each: a vector, whatever stands beside it; None where nobody looks."""
        return (
            [None] * len(pictures) if self.encoder is None else list(torch.from_numpy(self.encoder.pictures(pictures)))
        )

    def best(
        self,
        text: str,
        seed: int,
        drawn: Sequence[Drawn],
        agreement: float = 0.0,
        candidates: Sequence[int] | None = None,
    ) -> list[Ranked]:
        """Those it has looked at (None: candidates 0, 1, 2 ...), best first (`pipelines.rank.scores`, plus bonus)."""
        found = [0.0] * len(drawn)
        if self.encoder is not None:
            told = torch.from_numpy(self.encoder.texts([text], cut=True)[0])
            found = scores(torch.stack([one.seen for one in drawn]), told, agreement)
        return best_first([one.picture for one in drawn], seed, found, [one.bonus for one in drawn], candidates)
