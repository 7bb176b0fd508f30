"""The last two stages of every painter: CLIP embeds each candidate (`embed`), and the best are kept (`rank`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.functional.clip_guidance import ClipGuidance
from pinxit.models.clip import CLIP
from pinxit.models.torch_defaults import torch_defaults
from pinxit.pipelines.graph import Stage
from pinxit.pipelines.lanes import tile_of
from pinxit.pipelines.rank import best_first, encode_fixed, scores, to_tensor
from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import FunctionWorker, ParallelExecutor
from pinxit.recipes.requests import Candidate
from pinxit.types import Ranked

if TYPE_CHECKING:
    from pinxit.text.clip_tokenizer import ClipTokenizer
    from pinxit.text.tokenizers import Tokenizer
    from pinxit.types import Picture

CPU_PICTURES = 2  # pictures decoded or embedded in one call (measured: docs/log.md)


def ranking_stages(ranker: Ranker, lanes: ParallelExecutor) -> list[Stage]:
    """The stages that turn candidates into the kept ones, best first."""

    def embed(items: Sequence[WorkItem]) -> list[Candidate]:
        pictures = [item.value.picture for item in items]
        embedded = zip(items, ranker.embed(pictures), strict=True)
        return [Candidate(item.value.picture, item.value.bonus, one) for item, one in embedded]

    def best(item: WorkItem) -> list[Ranked]:
        asked, met = item.job.request, item.value
        drawn, numbers = [one.value for one in met], [one.place[-1] for one in met]
        prompt, agreement = asked.prompt, asked.settings["agreement"]
        return ranker.best(prompt.text, prompt.seed, drawn, agreement, numbers)[: asked.keep]

    one_by_one = FunctionWorker(lambda items: [best(item) for item in items], lanes=lanes)
    return [
        Stage("embed", FunctionWorker(embed, ranker.batch, lanes), weight=0.05),
        Stage("rank", one_by_one, gather=True),
    ]


def embeddings_of(clip: CLIP, pictures_B3SS: Tensor) -> Tensor:
    """Unit embeddings [B, E], on the CLIP's device, of square pictures of any size in [0, 1], with gradients."""
    side, pictures_B3SS = clip.config.vision.size, pictures_B3SS.to(clip.mean.device)
    if pictures_B3SS.shape[-1] != side:
        shape = (side, side)
        pictures_B3SS = torch.nn.functional.interpolate(pictures_B3SS, shape, mode="bicubic", antialias=True).clamp(
            0, 1
        )
    return clip.encode_image(pictures_B3SS)


def clip_guidance(clip: CLIP | None, target: Callable[[], Tensor], settings: Mapping[str, Any]) -> ClipGuidance | None:
    """What moves predictions towards an embedding [E] of a CLIP; None without a CLIP or such a setting."""
    step = settings["clip_guidance"]
    return ClipGuidance(partial(embeddings_of, clip), target(), step) if clip is not None and step else None


class Ranker:
    """CLIP with its tokenizer, as the ranker of candidates, in batches of one fixed shape."""

    def __init__(self, clip: CLIP, tokenizer: Tokenizer | ClipTokenizer, device: torch.device) -> None:
        self.clip, self.tokenizer, self.device, self.batch = clip, tokenizer, device, tile_of(device, CPU_PICTURES)

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to give logits."""
        return float(self.clip.scale())

    @torch_defaults()
    @torch.inference_mode()
    def embed(self, pictures: Sequence[Picture]) -> Sequence[Tensor | None]:
        """An embedding [E] of each, which never depends on the others."""
        return list(encode_fixed(self._encode_image, to_tensor(pictures).to(self.device), self.batch))

    @torch_defaults()
    @torch.inference_mode()
    def text(self, text: str) -> Tensor:
        """The sentence's embedding [E]."""
        ids = torch.from_numpy(self.tokenizer.encode_clip([text], self.clip.config.text.tokens)).to(self.device)
        return self.clip.encode_text(ids)[0]

    def scores(self, text: str, embeddings: Sequence[Tensor], agreement: float) -> list[float]:
        """The score of each embedding [E] for a text (`pipelines.rank.scores`)."""
        return scores(torch.stack(list(embeddings)), self.text(text), agreement)

    def best(
        self,
        text: str,
        seed: int,
        drawn: Sequence[Candidate],
        agreement: float = 0.0,
        candidates: Sequence[int] | None = None,
    ) -> list[Ranked]:
        """Embedded candidates (numbers None: 0, 1, 2 ...), best first by score plus bonus."""
        values = self.scores(text, [one.embedding for one in drawn], agreement)
        return best_first([one.picture for one in drawn], seed, values, [one.bonus for one in drawn], candidates)

    def ranked(self, text: str, seed: int, pictures: Sequence[Picture], agreement: float = 0.0) -> list[Ranked]:
        """Candidates 0, 1, 2 ... best first."""
        if not pictures:
            return []
        embedded = zip(pictures, self.embed(pictures), strict=True)
        return self.best(text, seed, [Candidate(picture, embedding=one) for picture, one in embedded], agreement)

    def _encode_image(self, pictures: Tensor) -> Tensor:
        assert self.clip is not None, "the ranker that has none embeds by other means"
        return embeddings_of(self.clip, pictures)
