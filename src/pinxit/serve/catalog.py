"""The painters and the CLIP that are served, all in one graph, and how a job of each is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit.api import load
from pinxit.errors import UsageError
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.work import Job
from pinxit.pipelines.worker import FunctionWorker
from pinxit.recipes.capabilities import Varies, abilities, upsampler_of
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.stage_placement import USUAL, Placing, check_placings
from pinxit.serve.errors import RefusedError
from pinxit.types import Prompt
from pinxit.weights.zoo import PAINTERS, shipped

if TYPE_CHECKING:
    from pinxit.recipes.clip.engine import Precision
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.painting import Painter
    from pinxit.recipes.requests import PaintRequest
    from pinxit.serve.settings import Settings

OPENAI_NAMES = ("dall-e-", "gpt-image-", "chatgpt-image-", "text-embedding-")  # prefixes of OpenAI's model names
CLIP = "clip"
WARM_UP = "warming up"  # the client of the server's own jobs
MAX_SIDE = 1024  # pixels


@dataclass(eq=False)
class ServerJob(Job):
    """A job with what the server needs to decide when to show previews."""

    shares: list[float] = field(default_factory=list)  # progress (0 to 1) at which previews are due, the next one first
    share: float = 0.0  # progress before the last turn
    step: float = 0.0  # progress that the last turn made
    looked_before: float = 0.0  # `looked` before the last turn
    reports_candidates: bool = False  # publish every candidate as soon as it is drawn
    on_begin: Callable[[], Future[Any]] | None = None  # its first call waits for the future; then None

    def begin(self) -> Future[Any] | None:
        """What its first call, which is about to be made, must wait for; None for later calls."""
        on_begin, self.on_begin = self.on_begin, None
        return None if on_begin is None else on_begin()


@dataclass(frozen=True)
class Model:
    """A painter, under the name that clients use."""

    name: str
    painter: Painter
    upsampler: Upsampler | None = None

    @property
    def default_size(self) -> int:
        """Side in pixels if the client asks for none: the same as for `pinxit paint`."""
        own = upsampler_of(self.painter)
        return self.painter.size if own is None else own.size

    @property
    def native_sizes(self) -> list[int]:
        """The sizes in pixels that its networks produce."""
        more = [] if self.upsampler is None else [self.upsampler.size]
        return sorted({self.painter.size, *more})

    def drawn_size(self, side: int) -> int:
        """The native size at which a picture of `side` pixels is drawn, before it is resampled. Raises RefusedError."""
        if not 16 <= side <= MAX_SIDE:
            raise RefusedError(400, f"size: a side has 16 to {MAX_SIDE} pixels.", "size", "invalid_value")
        return next((size for size in self.native_sizes if size >= side), self.native_sizes[-1])

    @property
    def can(self) -> list[str]:
        """Its abilities."""
        return abilities(self.painter)

    def warm_up_request(self) -> PaintRequest:
        """The request that measures costs at startup: of a prompt, or of a picture if it only varies those."""
        if "paint" in self.can:
            return self.painter.asked(Prompt("a red cube"), 1, 1)
        assert isinstance(self.painter, Varies)
        grey = np.full((self.painter.size, self.painter.size, 3), 127, np.uint8)
        return self.painter.varying(self.painter.asked(Prompt(""), 1, 1, wordless=True), grey)

    def settled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings of the painter, overridden by those given. Raises UsageError."""
        return self.painter.settled(given)

    def facts(self, asked: PaintRequest, side: int) -> dict[str, Any]:
        """The metadata that its pictures share: the same as `pinxit paint`, `vary` and `blend` write."""
        metadata = self._made_by(asked) | {
            "seed": asked.prompt.seed,
            "candidates": asked.candidates,
            "keep": asked.keep,
        }
        size = self.drawn_size(side)
        if size != self.painter.size and self.upsampler is not None:
            metadata |= self.upsampler.facts
        found = self.painter.facts(metadata)
        return found if size == side else found | {"resampled": side}

    def _made_by(self, asked: PaintRequest) -> dict[str, Any]:
        """The settings that were read; of variations and blends their name, and not those that they are drawn without.

        A picture drawn from an embedding alone has no prior, and its metadata shall not say that it had one.
        """
        if asked.route not in ("vary", "blend"):
            return dict(asked.settings)
        painter: Any = self.painter
        read = painter.used_settings({}, own_noise=asked.route == "blend")
        return {"made_by": asked.route} | {name: asked.settings[name] for name in read}


class Catalog:
    """All that is served. `graph` holds every stage of every painter; `job` makes a job."""

    def __init__(
        self, models: Sequence[Model], clip: ClipEncoder | None = None, aliases: Mapping[str, str] | None = None
    ) -> None:
        self.models = {model.name: model for model in models}
        self.clip, self.aliases = clip, dict(aliases or {})
        self.clip_name = "" if clip is None else clip.fingerprint  # by which its embeddings are known
        for alias, name in self.aliases.items():
            if name not in self.models:
                raise UsageError(f"aliases: {alias} stands for '{name}', which is not served.")
            if alias in self.models or (alias == CLIP and clip is not None):
                raise UsageError(f"aliases: '{alias}' is served itself; choose another name for {name}.")
        if not self.models:
            raise UsageError("recipes: no painter came with this installation; write NAME=CHECKPOINT for yours.")
        for model in models:
            if not {"paint", "vary"} & set(model.can):
                raise UsageError(f"recipes: {model.name} neither paints nor varies pictures.")
        self.default = next((one for one in models if "paint" in one.can), models[0])
        graph = Graph([], {})
        for model in models:
            graph = graph.joined_with(model.painter.graph.prefixed(model.name))
            if model.upsampler is not None:
                graph = graph.joined_with(model.upsampler.graph)
        self.graph = graph if clip is None else graph.joined_with(clip_graph(clip))

    @classmethod
    def opened(cls, settings: Settings) -> Catalog:
        """Load everything that the settings name. Raises CheckpointError and UsageError as `pinxit.load` does."""
        checkpoints, stages = _checkpoints(settings), settings.stages
        placings = {name: _placings_of(name, stages) for name in checkpoints}
        known = [*(f"{name}/{stage}" for name, own in placings.items() for stage in own), *[CLIP] * bool(settings.clip)]
        if unknown := next((stage for stage in stages if stage not in known), None):
            raise UsageError(f"stages: '{unknown}' is of nothing that is served; write NAME/STAGE, or {CLIP}.")
        _check_upsamplers(checkpoints, placings)
        painters: dict[str, Painter] = {
            name: load(checkpoint, device=settings.device, stages=placings[name])
            for name, checkpoint in checkpoints.items()
        }
        shared = next((one for one in map(upsampler_of, painters.values()) if one is not None), None)
        models = [Model(name, one, upsampler_of(one) or _compatible(one, shared)) for name, one in painters.items()]
        clip = _clip(settings, stages.get(CLIP, USUAL)) if settings.clip else None
        return cls(models, clip, settings.aliases)

    def model(self, name: str | None) -> Model:
        """The model of a name or an alias; OpenAI's names, and none, mean the default. Raises RefusedError (404)."""
        name = name or self.default.name
        found = self.models.get(self.aliases.get(name, name))
        if found is None and name.startswith(OPENAI_NAMES):
            return self.default
        if found is None:
            known = ", ".join(self.models)
            raise RefusedError(404, f"there is no such model here: choose from {known}.", "model", "model_not_found")
        return found

    def job(self, model: Model, asked: PaintRequest, side: int, **options: Any) -> ServerJob:
        """A job that paints; `options` are fields of `ServerJob`."""
        route = self.graph.routes[f"{model.name}/{asked.route}"]
        if model.drawn_size(side) != model.painter.size:
            assert model.upsampler is not None
            route = (*route, *model.upsampler.route(model.painter.size))
        return ServerJob([(route, None)], request=asked, **options)


def _checkpoints(settings: Settings) -> dict[str, str]:
    """The checkpoint of each painter's name. Raises UsageError."""
    found: dict[str, str] = {}
    for spec in settings.recipes or [name for name, checkpoint in PAINTERS.items() if checkpoint in shipped()]:
        name, _, checkpoint = spec.partition("=")
        if not checkpoint and name not in PAINTERS:
            raise UsageError(f"recipes: '{spec}' is none of {', '.join(PAINTERS)}; write NAME=CHECKPOINT for yours.")
        if not name or name in found or name == CLIP:
            raise UsageError(f"recipes: '{spec}' needs a name of its own; write NAME=CHECKPOINT.")
        found[name] = checkpoint or PAINTERS[name]
    return found


def _placings_of(name: str, stages: Mapping[str, Placing]) -> dict[str, Placing]:
    """By a painter's own names, the stages that are placed otherwise than usual."""
    own = f"{name}/"
    return {stage.removeprefix(own): how for stage, how in stages.items() if stage.startswith(own)}


def _check_upsamplers(checkpoints: Mapping[str, str], placings: Mapping[str, Mapping[str, Placing]]) -> None:
    """Raise UsageError where painters of one checkpoint place its upsamplers, which they share, in different ways."""
    first: dict[str, str] = {}
    for name, checkpoint in checkpoints.items():
        other = first.setdefault(checkpoint, name)
        for stage in placings[name].keys() | placings[other].keys():
            if stage.startswith("up") and placings[name].get(stage, USUAL) != placings[other].get(stage, USUAL):
                raise UsageError(
                    f"stages: {other} and {name} share the upsampler of {checkpoint}; place {other}/{stage} and "
                    f"{name}/{stage} alike."
                )


def _clip(settings: Settings, options: Placing) -> ClipEncoder:
    check_placings({CLIP: options}, {CLIP: ("device", "fp32", "bf16")}, settings.clip)
    precision: Precision = "bf16" if options.precision == "bf16" else "fp32"
    return ClipEncoder.open(settings.clip, options.device or settings.device, precision=precision)


def clip_graph(clip: ClipEncoder) -> Graph:
    """The stages that embed texts and pictures; every call has one fixed batch size, whoever asks."""
    texts = FunctionWorker(lambda items: list(clip.texts([item.value for item in items], cut=True)), clip.batch)
    pictures = FunctionWorker(lambda items: list(clip.pictures([item.value for item in items])), clip.batch)
    stages = [Stage(f"{CLIP}/texts", texts), Stage(f"{CLIP}/pictures", pictures)]
    return Graph(stages, {stage.name: [stage.name] for stage in stages})


def _compatible(painter: Painter, upsampler: Upsampler | None) -> Upsampler | None:
    """Another painter's upsampler, if it takes pictures of this painter's size."""
    if upsampler is None:
        return None
    try:
        upsampler.check_size(painter.size, painter.size)
    except UsageError:
        return None
    return upsampler
