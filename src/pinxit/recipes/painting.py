"""What every painter looks like from outside, whatever draws inside, and how its candidates are ranked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.models.clip import CLIP
from pinxit.pipelines.rank import cosines
from pinxit.text.tokenizers import Tokenizer
from pinxit.types import Prompt, Ranked

if TYPE_CHECKING:
    from pinxit.types import Picture


@dataclass(frozen=True)
class Progress:
    """How far painting has come: `share` from 0 to 1, and a way to look at the pictures under way."""

    share: float
    preview: Callable[[], list[Picture]]


Watch = Callable[[Progress], None]


class Painter(Protocol):
    """A loaded checkpoint that paints: what `pinxit.load` gives."""

    name: str
    size: int  # pixels of a side
    text_tokens: int  # longer prompts are cut
    defaults: dict[str, Any]  # the settings it knows, as the checkpoint has them
    provenance: dict[str, Any]  # goes into every picture's metadata

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the prompt will be dropped; 0 when it fits."""
        ...

    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that mean nothing to it."""
        ...

    def paint(
        self,
        prompt: str,
        *,
        candidates: int = 16,
        keep: int | None = 4,
        seed: int = 0,
        watch: Watch | None = None,
        **settings: Any,
    ) -> list[Ranked]:
        """Draw `candidates` pictures, best first, and keep `keep` of them (None: all)."""
        ...

    def paint_many(
        self,
        prompts: Iterable[Prompt | tuple[str, int]],
        *,
        candidates: int = 16,
        keep: int | None = 4,
        watch: Watch | None = None,
        **settings: Any,
    ) -> list[list[Ranked]]:
        """`paint` for many (text, seed); one list a prompt, in their order."""
        ...


def check_asked(text: str, candidates: int, settings: dict[str, Any], known: dict[str, Any]) -> None:
    """Refuse what no painter can paint: UsageError for an empty prompt, no candidates, or an unknown setting."""
    if not text.strip():
        raise UsageError("the prompt is empty: say what to paint.")
    if candidates < 1:
        raise UsageError(f"candidates must be at least 1, not {candidates}.")
    unknown = settings.keys() - known.keys()
    if unknown:
        raise UsageError(f"paint knows no setting '{min(unknown)}' here; it has {', '.join(known)}.")


class Ranker:
    """CLIP with its tokenizer as a judge of candidates, in batches of one fixed shape."""

    def __init__(self, clip: CLIP, tokenizer: Tokenizer, device: torch.device, batch: int) -> None:
        self.clip, self.tokenizer, self.device, self.batch = clip, tokenizer, device, batch

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to give logits."""
        return float(self.clip.scale())

    @torch.inference_mode()
    def ranked(
        self, text: str, seed: int, pictures: Sequence[Picture], bonus: Sequence[float] | None = None
    ) -> list[Ranked]:
        """Candidates 0, 1, 2 ... best first by their cosine with the text, plus `bonus` where there is one."""
        ids = torch.from_numpy(self.tokenizer.encode_clip([text], self.clip.config.text.tokens)).to(self.device)
        scores = cosines(self._encode_image, self.clip.encode_text(ids)[0], pictures, self.batch)
        if bonus is not None:
            scores = [score + more for score, more in zip(scores, bonus, strict=True)]
        found = [Ranked(one, seed, k, score) for k, (one, score) in enumerate(zip(pictures, scores, strict=True))]
        return sorted(found, key=lambda one: -one.score)

    @cached_property
    def _encode_image(self) -> Callable[[Tensor], Tensor]:
        side = self.clip.config.vision.size

        def encode(pictures: Tensor) -> Tensor:
            if pictures.shape[-1] != side:
                shape = (side, side)
                pictures = torch.nn.functional.interpolate(pictures, shape, mode="bicubic", antialias=True).clamp(0, 1)
            return self.clip.encode_image(pictures)

        return encode
