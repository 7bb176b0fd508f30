"""Any CLIP as the ranker of candidates, for painters whose checkpoint holds none; or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pinxit.pipelines.rank import best_first, scores
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.ranking import CPU_PICTURES, Ranker
from pinxit.recipes.requests import Candidate
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

    def embed(self, pictures: Sequence[Picture]) -> Sequence[Tensor | None]:
        """An embedding [E] of each; None without a CLIP."""
        return (
            [None] * len(pictures) if self.encoder is None else list(torch.from_numpy(self.encoder.pictures(pictures)))
        )

    def best(
        self,
        text: str,
        seed: int,
        drawn: Sequence[Candidate],
        agreement: float = 0.0,
        candidates: Sequence[int] | None = None,
    ) -> list[Ranked]:
        """Embedded candidates (numbers None: 0, 1, 2 ...), best first by `pipelines.rank.scores` plus bonus."""
        found = [0.0] * len(drawn)
        if self.encoder is not None:
            told = torch.from_numpy(self.encoder.texts([text], cut=True)[0])
            found = scores(torch.stack([one.embedding for one in drawn]), told, agreement)
        return best_first([one.picture for one in drawn], seed, found, [one.bonus for one in drawn], candidates)
