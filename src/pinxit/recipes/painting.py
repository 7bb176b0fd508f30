"""The interface of every painter, whatever model draws inside: how to ask it for pictures, and its settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from pinxit.errors import UsageError
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.pipelines.engine import Engine
from pinxit.pipelines.graph import Graph
from pinxit.pipelines.work import Job
from pinxit.recipes.jobs import PREVIEWS, Watch, collect_results, run_jobs
from pinxit.recipes.ranking import Ranker
from pinxit.recipes.requests import PaintRequest
from pinxit.schema import Count, checked, plain_number, shortened
from pinxit.types import Prompt, Ranked, check_pixels

if TYPE_CHECKING:
    from pinxit.text.encoders import TextEncoder
    from pinxit.types import Picture


_building = Lock()  # since Python 3.12, two threads that read a cached property at once both compute it


class Enlarger(Protocol):
    """What a painter needs of a `recipes.diffusion.upsampler.Upsampler`: stages that enlarge ranked pictures."""

    @property
    def graph(self) -> Graph:
        """The stages, and the route through all of them, `enlarge`."""
        ...

    def route(self, size: int) -> Sequence[str]:
        """The stages that a picture of `size` px passes."""
        ...


class Painter(ABC):
    """A loaded checkpoint that paints: what `pinxit.load` returns.

    This class holds what all painters have in common; a subclass builds the stages that a prompt passes (`_graph`).
    """

    name: str
    size: int  # side of its pictures in pixels
    text_tokens: int  # longer prompts are truncated
    defaults: dict[str, Any]  # its settings, with the checkpoint's values
    kinds: type[Any]  # a dataclass with the settings' types and ranges
    provenance: dict[str, Any]  # goes into every picture's metadata
    ranker: Ranker

    @cached_property
    def graph(self) -> Graph:
        """Its stages; the route `paint` leads from a `PaintRequest` to the kept pictures."""
        return self._graph()

    @abstractmethod
    def _graph(self) -> Graph:
        """Build `graph`."""

    @abstractmethod
    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the prompt will be dropped; 0 when it fits."""

    @abstractmethod
    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that it does not know."""

    @property
    def reader(self) -> TextEncoder | None:
        """Its text encoder, if an upsampler may share it."""
        return None

    def settled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings: its defaults, overridden by those given that are not None.

        Raises UsageError for one that is unknown, of the wrong type, or out of range. All settings are checked here.
        """
        check_known(given, self.defaults)
        about = self.defaults | {name: plain_number(value) for name, value in given.items() if value is not None}
        config = checked(self.kinds, about)
        return {name: getattr(config, name) for name in about}

    def recorded(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that go into metadata: all but those that have no effect, because others override them."""
        return dict(settings)

    def facts(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata that all pictures of these settings share; `picture_facts` adds each picture's own."""
        return self.recorded(settings) | self.provenance

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
        """`paint_each` as a list: one list of pictures a prompt. `watch` gets the progress of all prompts together."""
        asked = list(prompts)
        how |= {"candidates": candidates, "keep": keep}
        return collect_results(lambda watch: self.paint_each(asked, watch=watch, **how), len(asked), watch)

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

        Prompts are painted concurrently, and yielded in their order. `watch` gets the progress of the next one to be
        yielded, with previews every `previews` seconds; `upsampler` enlarges what is kept. `settings` override those of
        `defaults`. Raises UsageError, before anything is painted, for a prompt that is empty or comes without a seed,
        and for a number or setting that is unknown or out of range. Several threads may paint with one painter.
        """
        asked = [_prompt(one) for one in prompts]
        about = self._asked(asked, candidates, settings)
        return self._serve(
            [PaintRequest(prompt, candidates, keep, about) for prompt in asked], watch, previews, upsampler
        )

    def asked(
        self,
        prompt: Prompt,
        candidates: int = 16,
        keep: int | None = 4,
        settings: Mapping[str, Any] | None = None,
        *,
        wordless: bool = False,
    ) -> PaintRequest:
        """A checked request for a job of the engine; nothing is computed yet. Raises UsageError as `paint_each` does.

        `wordless`: the text may be empty, because a picture says what to paint.
        """
        return PaintRequest(
            prompt, candidates, keep, self._asked([] if wordless else [prompt], candidates, settings or {})
        )

    def rank(self, prompt: Prompt, pictures: Sequence[Picture], **settings: Any) -> list[Ranked]:
        """Candidates 0, 1, 2 ... of a prompt, best first, as `paint` ranks them with these settings.

        Raises UsageError as `settled` does, and for pictures that are none, or of several sizes.
        """
        pictures = list(pictures)
        check_pixels(*pictures)
        if len({one.shape for one in pictures}) > 1:
            raise UsageError("the pictures that are ranked must have one size.")
        agreement = self.settled(settings)["agreement"]
        return self.ranker.ranked(prompt.text, prompt.seed, pictures, agreement=agreement)

    def _serve(
        self,
        requests: Sequence[PaintRequest],
        watch: Watch | None,
        previews: float = PREVIEWS,
        upsampler: Enlarger | None = None,
    ) -> Generator[list[Ranked], None, None]:
        engine, further = self._engine, tuple[str, ...]()
        if upsampler is not None:
            more = upsampler.graph
            with engine.turning:
                engine.graph = engine.graph.joined_with(more)
            further = tuple(upsampler.route(self.size))
        jobs = [Job([((*self.graph.routes[one.route], *further), None)], request=one) for one in requests]
        return run_jobs(engine, jobs, watch, previews)

    def __getstate__(self) -> dict[str, Any]:  # a copy, here or in another process, builds its own engine
        return {name: value for name, value in vars(self).items() if name not in ("graph", "_built")}

    @property
    def _engine(self) -> Engine:
        with _building:
            return self._built

    @cached_property
    def _built(self) -> Engine:
        with torch_defaults_for_loading():
            return Engine(self.graph)

    def _asked(self, asked: Sequence[Prompt], candidates: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings (`settled`). Also raises UsageError for an empty prompt, and for no candidates."""
        if not all(prompt.text.strip() for prompt in asked):
            raise UsageError("the prompt is empty: say what to paint.")
        checked(Count, plain_number(candidates), "candidates")
        return self.settled(given)


def _prompt(given: Prompt | tuple[str, int]) -> Prompt:
    if isinstance(given, Prompt):
        return given
    if not (isinstance(given, tuple | list) and len(given) in (1, 2)):  # a text would be taken for a list of letters
        raise UsageError(f"give each prompt as (text, seed), not {shortened(given)}.")
    return Prompt(*given)


def picture_facts(prompt: str, one: Ranked, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of one picture: its own facts, and `facts`, those of all."""
    own = {"prompt": prompt, "seed": one.seed, "candidate": one.candidate, "score": round(one.score, 6)}
    return own | dict(facts)


def check_known(given: Iterable[str], known: Collection[str]) -> None:
    """Raise UsageError for the name of a setting that does not exist."""
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"there is no setting '{unknown[0]}' here: choose from {', '.join(known)}.")
