"""What every painter is, whatever draws inside: how it is asked and watched, and how its candidates are ranked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.models.clip import CLIP
from pinxit.pipelines.engine import Engine
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.lanes import tile_of
from pinxit.pipelines.rank import best_first, encode_fixed, scores, to_tensor
from pinxit.pipelines.work import Job, WorkItem
from pinxit.pipelines.worker import Each, SideBySide
from pinxit.schema import checked
from pinxit.text.tokenizers import Tokenizer
from pinxit.types import Prompt, Ranked

if TYPE_CHECKING:
    from pinxit.text.encoders import TextEncoder
    from pinxit.types import Picture

CPU_PICTURES = 2  # that are decoded or looked at in one call (docs/log.md)
PREVIEWS = 1.0  # seconds between two looks at what is under way


@dataclass(frozen=True)
class Progress:
    """How far painting has come: `share` from 0 to 1, and the newest looks at the pictures under way."""

    share: float
    preview: Callable[[], list[Picture]]


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Asked:
    """What a job is to paint, for every stage to look up."""

    prompt: Prompt
    candidates: int = 1
    keep: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    more: Any = None  # what one recipe alone knows, such as the picture that is completed
    route: str = "paint"  # of the painter's graph


@dataclass(frozen=True)
class Drawn:
    """A candidate on its way to be ranked."""

    picture: Picture
    bonus: float = 0.0  # of its score
    seen: Any = None  # what the ranker sees in it


class Enlarger(Protocol):
    """What `recipes.diffusion.upsampler.Upsampler` is to a painter: stages for pictures that are ranked."""

    @property
    def graph(self) -> Graph:
        """They, and the route through them, `enlarge`."""
        ...


class Painter(ABC):
    """A loaded checkpoint that paints: what `pinxit.load` gives.

    What every kind does alike stands here; one of its own says through which stages a prompt passes (`graph`).
    """

    name: str
    size: int  # pixels of a side
    text_tokens: int  # longer prompts are cut
    defaults: dict[str, Any]  # the settings it knows, as the checkpoint has them
    kinds: type[Any]  # the dataclass that says of which kind and in which range its settings are
    provenance: dict[str, Any]  # goes into every picture's metadata
    ranker: Ranker

    @cached_property
    def graph(self) -> Graph:
        """Its stages; the route `paint` takes an `Asked` to the kept pictures."""
        return self._graph()

    @abstractmethod
    def _graph(self) -> Graph:
        """Build it."""

    @abstractmethod
    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the prompt will be dropped; 0 when it fits."""

    @abstractmethod
    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that mean nothing to it."""

    @property
    def reader(self) -> TextEncoder | None:
        """Who reads its prompts, where an upsampler may share it."""
        return None

    def settled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, those given in place of its own; None leaves one as it is.

        Raises UsageError for one that it does not have, of another kind, or out of range: here and nowhere else.
        """
        check_known(given, self.defaults)
        about = self.defaults | {name: value for name, value in given.items() if value is not None}
        config = checked(self.kinds, about)
        return {name: getattr(config, name) for name in about}

    def told(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What metadata tell of settings: all but those that others overrule."""
        return dict(settings)

    def facts(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What metadata of pictures tell of how they were made, besides `picture_facts`."""
        return self.told(settings) | self.provenance

    def paint(
        self, prompt: str, *, candidates: int = 16, keep: int | None = 4, seed: int = 0, **how: Any
    ) -> list[Ranked]:
        """Draw `candidates` pictures of `prompt`, best first by CLIP, and keep `keep` of them (None: all).

        `how`: `watch`, `previews`, `upsampler` and settings, as in `paint_each`.
        """
        return self.paint_many([Prompt(prompt, seed)], candidates=candidates, keep=keep, **how)[0]

    def paint_many(
        self,
        prompts: Iterable[Prompt | tuple[str, int]],
        *,
        candidates: int = 16,
        keep: int | None = 4,
        watch: Watch | None = None,
        **how: Any,
    ) -> list[list[Ranked]]:
        """`paint_each`, all at once: one list a prompt, in their order. `watch` hears of all of them together."""
        asked, ended = list(prompts), 0

        def among(done: Progress) -> None:
            assert watch is not None
            watch(Progress((ended + done.share) / len(asked), done.preview))

        found = []
        how |= {"candidates": candidates, "keep": keep, "watch": None if watch is None else among}
        for one in self.paint_each(asked, **how):
            found.append(one)
            ended += 1
        return found

    def paint_each(
        self,
        prompts: Iterable[Prompt | tuple[str, int]],
        *,
        candidates: int = 16,
        keep: int | None = 4,
        watch: Watch | None = None,
        previews: float = PREVIEWS,
        upsampler: Enlarger | None = None,
        **settings: Any,
    ) -> Generator[list[Ranked], None, None]:
        """Draw `candidates` pictures of each (text, seed), best first by CLIP, and keep `keep` of them (None: all).

        Prompts share the machine, and come in their order. `watch` hears of the next one to come, with looks at it
        every `previews` seconds; `upsampler` enlarges what is kept. `settings`: those of `defaults`, whose values stand
        for what is left out. Raises UsageError, before anything is painted, for an empty prompt or a setting that is
        unknown or out of range.
        """
        asked = [prompt if isinstance(prompt, Prompt) else Prompt(*prompt) for prompt in prompts]
        about = self._asked(asked, candidates, settings)
        return self._serve([Asked(prompt, candidates, keep, about) for prompt in asked], watch, previews, upsampler)

    def asked(
        self,
        prompt: Prompt,
        candidates: int = 16,
        keep: int | None = 4,
        settings: Mapping[str, Any] | None = None,
        *,
        wordless: bool = False,
    ) -> Asked:
        """What a job of the engine is to paint: nothing is computed yet. Raises UsageError as `paint_each` does.

        `wordless`: the text may be empty, as a picture says what to paint.
        """
        return Asked(prompt, candidates, keep, self._asked([] if wordless else [prompt], candidates, settings or {}))

    def rank(self, prompt: Prompt, pictures: Sequence[Picture], **settings: Any) -> list[Ranked]:
        """Candidates 0, 1, 2 ... of a prompt, best first, as `paint` ranks them by these settings."""
        agreement = (self.defaults | settings)["agreement"]
        return self.ranker.ranked(prompt.text, prompt.seed, pictures, agreement=agreement)

    def _serve(
        self, asked: Sequence[Asked], watch: Watch | None, previews: float = PREVIEWS, upsampler: Enlarger | None = None
    ) -> Generator[list[Ranked], None, None]:
        engine, further = self._engine, tuple[str, ...]()
        if upsampler is not None:
            engine.graph = engine.graph.with_more(upsampler.graph)
            further = upsampler.graph.routes["enlarge"]
        jobs = [Job([((*self.graph.routes[one.route], *further), None)], request=one) for one in asked]
        return served(engine, jobs, watch, previews)

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.graph)

    def _asked(self, asked: Sequence[Prompt], candidates: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings (`settled`). Raises UsageError for an empty prompt and for no candidates, too."""
        if not all(prompt.text.strip() for prompt in asked):
            raise UsageError("the prompt is empty: say what to paint.")
        if candidates < 1:
            raise UsageError(f"candidates must be at least 1, not {candidates}.")
        return self.settled(given)


def picture_facts(prompt: str, one: Ranked, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the metadata of a picture tell."""
    own = {"prompt": prompt, "seed": one.seed, "candidate": one.candidate, "score": round(one.score, 6)}
    return own | dict(facts)


def check_known(given: Iterable[str], known: Collection[str]) -> None:
    """Raise UsageError for the name of a setting that there is not."""
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"there is no setting '{unknown[0]}' here: choose from {', '.join(known)}.")


def served(
    engine: Engine, jobs: Sequence[Job], watch: Watch | None, previews: float = PREVIEWS
) -> Generator[list[Any], None, None]:
    """The jobs' results, in their order; the engine turns while the next one is waited for.

    `watch` hears how far that one has come. Raises the error of a job that failed. Whatever ends it early, the jobs
    that are left are let go.
    """
    for job in jobs:
        engine.submit(job)
    try:
        for job in jobs:
            job.previews = previews if watch is not None else job.previews
            while job.outcome is None:
                turned = engine.turn()
                assert turned or job.outcome is not None, "what is asked for can be done"
                if watch is not None:
                    watch(Progress(engine.share(job), partial(_shown, job)))
            if isinstance(job.outcome.data, Exception):
                raise job.outcome.data
            yield job.outcome.data
    finally:
        for job in jobs:
            engine.cancel(job)
        engine.settle()


def _shown(job: Job) -> list[Picture]:
    return [job.looks[place].picture for place in sorted(job.looks)]


def ranking(ranker: Ranker, lanes: SideBySide) -> list[Stage]:
    """The stages that turn `Drawn` candidates into the kept ones, best first."""

    def look(items: Sequence[WorkItem]) -> list[Drawn]:
        pictures = [item.value.picture for item in items]
        seen = zip(items, ranker.look(pictures), strict=True)
        return [Drawn(item.value.picture, item.value.bonus, one) for item, one in seen]

    def best(item: WorkItem) -> list[Ranked]:
        asked, met = item.job.request, item.value
        drawn, numbers = [one.value for one in met], [one.place[-1] for one in met]
        prompt, agreement = asked.prompt, asked.settings["agreement"]
        return ranker.best(prompt.text, prompt.seed, drawn, agreement, numbers)[: asked.keep]

    one_by_one = Each(lambda items: [best(item) for item in items], lanes=lanes)
    return [Stage("look", Each(look, ranker.batch, lanes), weight=0.05), Stage("rank", one_by_one, gather=True)]


class Ranker:
    """CLIP with its tokenizer as a judge of candidates, in batches of one fixed shape."""

    def __init__(self, clip: CLIP, tokenizer: Tokenizer, device: torch.device) -> None:
        self.clip, self.tokenizer, self.device, self.batch = clip, tokenizer, device, tile_of(device, CPU_PICTURES)

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to give logits."""
        return float(self.clip.scale())

    @torch.inference_mode()
    def look(self, pictures: Sequence[Picture]) -> Sequence[Tensor | None]:
        """What it sees in each: a vector, whatever stands beside it."""
        return list(encode_fixed(self._encode_image, to_tensor(pictures).to(self.device), self.batch))

    @torch.inference_mode()
    def best(
        self,
        text: str,
        seed: int,
        drawn: Sequence[Drawn],
        agreement: float = 0.0,
        candidates: Sequence[int] | None = None,
    ) -> list[Ranked]:
        """Those it has looked at (None: candidates 0, 1, 2 ...), best first (`pipelines.rank.scores`, plus bonus)."""
        ids = torch.from_numpy(self.tokenizer.encode_clip([text], self.clip.config.text.tokens)).to(self.device)
        found = scores(torch.stack([one.seen for one in drawn]), self.clip.encode_text(ids)[0], agreement)
        bonus = [one.bonus for one in drawn]
        return best_first([one.picture for one in drawn], seed, found, bonus, candidates)

    def ranked(self, text: str, seed: int, pictures: Sequence[Picture], agreement: float = 0.0) -> list[Ranked]:
        """Candidates 0, 1, 2 ... best first."""
        seen = zip(pictures, self.look(pictures), strict=True)
        return self.best(text, seed, [Drawn(picture, seen=one) for picture, one in seen], agreement)

    @cached_property
    def _encode_image(self) -> Callable[[Tensor], Tensor]:
        side = self.clip.config.vision.size

        def encode(pictures: Tensor) -> Tensor:
            if pictures.shape[-1] != side:
                shape = (side, side)
                pictures = torch.nn.functional.interpolate(pictures, shape, mode="bicubic", antialias=True).clamp(0, 1)
            return self.clip.encode_image(pictures)

        return encode
