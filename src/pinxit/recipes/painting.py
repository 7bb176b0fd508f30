"""What every painter is, whatever draws inside: how it is asked and watched, and how its candidates are ranked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.models.clip import CLIP
from pinxit.pipelines.rank import best_first, encode_fixed, scores, to_tensor
from pinxit.pipelines.stepper import Asked, Result, Stepper, run
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


def halves(watch: Watch) -> tuple[Watch, Watch]:
    """Watchers of two works, one after the other, under one bar."""

    def half(begun: float) -> Watch:
        return lambda painted: watch(replace(painted, share=begun + painted.share / 2))

    return half(0.0), half(0.5)


class Painter(ABC):
    """A loaded checkpoint that paints: what `pinxit.load` gives.

    What every kind does alike stands here; one of its own says how requests are made and what becomes of them.
    """

    name: str
    size: int  # pixels of a side
    text_tokens: int  # longer prompts are cut
    defaults: dict[str, Any]  # the settings it knows, as the checkpoint has them
    provenance: dict[str, Any]  # goes into every picture's metadata
    ranker: Ranker

    @abstractmethod
    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the prompt will be dropped; 0 when it fits."""

    @abstractmethod
    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that mean nothing to it."""

    def told(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What metadata tell of settings: all but those that others overrule."""
        return dict(settings)

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
        """Draw `candidates` pictures of `prompt`, best first by CLIP, and keep `keep` of them (None: all).

        `settings`: those of `defaults`, whose values stand for what is left out. Raises UsageError for an empty prompt
        or a setting that is unknown or out of range.
        """
        return self.paint_many([Prompt(prompt, seed)], candidates=candidates, keep=keep, watch=watch, **settings)[0]

    def paint_many(
        self,
        prompts: Iterable[Prompt | tuple[str, int]],
        *,
        candidates: int = 16,
        keep: int | None = 4,
        watch: Watch | None = None,
        **settings: Any,
    ) -> list[list[Ranked]]:
        """`paint` for many (text, seed) with the slots kept full; one list a prompt, in their order."""
        asked = [prompt if isinstance(prompt, Prompt) else Prompt(*prompt) for prompt in prompts]
        pictures = self._candidates_of(asked, candidates, self._settings(asked, candidates, settings), watch)
        painted = []
        for index, prompt in enumerate(asked):
            mine = slice(index * candidates, (index + 1) * candidates)
            painted.append(self.rank(prompt, pictures[mine], **settings)[:keep])
        return painted

    def rank(self, prompt: Prompt, pictures: Sequence[Picture], **settings: Any) -> list[Ranked]:
        """Candidates 0, 1, 2 ... of a prompt, best first, as `paint` ranks them by these settings."""
        agreement = (self.defaults | settings)["agreement"]
        return self.ranker.ranked(prompt.text, prompt.seed, pictures, agreement=agreement)

    def _settings(self, asked: Sequence[Prompt], candidates: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, those given in place of its own; None leaves one as it is.

        Raises UsageError for what no painter can paint: an empty prompt, no candidates, or an unknown setting.
        """
        if not all(prompt.text.strip() for prompt in asked):
            raise UsageError("the prompt is empty: say what to paint.")
        if candidates < 1:
            raise UsageError(f"candidates must be at least 1, not {candidates}.")
        unknown = given.keys() - self.defaults.keys()
        if unknown:
            raise UsageError(f"paint knows no setting '{min(unknown)}' here; it has {', '.join(self.defaults)}.")
        return self.defaults | {name: value for name, value in given.items() if value is not None}

    @abstractmethod
    def _candidates_of(
        self, asked: Sequence[Prompt], candidates: int, settings: dict[str, Any], watch: Watch | None
    ) -> list[Picture]:
        """The pictures of all candidates of the first prompt, then of the second ..."""


def draw(
    stepper: Stepper[Asked, Result],
    requests: Sequence[Asked],
    preview: Callable[[Iterable[int]], list[Picture]],
    watch: Watch | None,
) -> list[Result]:
    """Serve all requests, in their order, and tell `watch` the progress; `preview` shows what slots have so far."""
    started = 0

    def look(at_work: dict[int, int]) -> None:
        nonlocal started
        assert watch is not None
        started = max(started, *(number + 1 for number in at_work.values()), 0)
        finished = started - len(at_work)
        watch(Progress((finished + sum(map(stepper.progress, at_work))) / len(requests), lambda: preview(at_work)))

    return run(stepper, requests, look if watch is not None else None)


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
        self,
        text: str,
        seed: int,
        pictures: Sequence[Picture],
        bonus: Sequence[float] | None = None,
        agreement: float = 0.0,
    ) -> list[Ranked]:
        """Candidates 0, 1, 2 ... best first by CLIP (`pipelines.rank.scores`), plus `bonus` where there is one."""
        ids = torch.from_numpy(self.tokenizer.encode_clip([text], self.clip.config.text.tokens)).to(self.device)
        images = encode_fixed(self._encode_image, to_tensor(pictures).to(self.device), self.batch)
        found = scores(images, self.clip.encode_text(ids)[0], agreement)
        return best_first(pictures, seed, found, bonus)

    @cached_property
    def _encode_image(self) -> Callable[[Tensor], Tensor]:
        side = self.clip.config.vision.size

        def encode(pictures: Tensor) -> Tensor:
            if pictures.shape[-1] != side:
                shape = (side, side)
                pictures = torch.nn.functional.interpolate(pictures, shape, mode="bicubic", antialias=True).clamp(0, 1)
            return self.clip.encode_image(pictures)

        return encode
