"""unCLIP as a graph: how a sentence becomes a CLIP embedding, and that a picture.

| stage | worker | from | to |
|---|---|---|---|
| `text` | `FunctionWorker` | the job's `PaintRequest` | a `PriorRequest` a candidate: the prior's conditions |
| `prior` | `CoroutineWorker` | a `PriorRequest` | a `DenoiseRequest`, with an embedding sampled from the prior |
| `decoder` | `DenoiseWorker` | a `DenoiseRequest` | a `Candidate`: a picture, sampled from noise |
| `embed` | `FunctionWorker` | candidates | the same with their CLIP embeddings |
| `rank` | `FunctionWorker`, gathers | all candidates of the job | the kept ones as `Ranked`, best first |

The route `vary` begins at `picture`, which encodes the picture by CLIP, and ends at `likeness`, which ranks by
similarity to it. `draw` decodes given embeddings; `invert` is DDIM inversion. Upsamplers follow as in Imagen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.functional.clip_guidance import ClipGuidance
from pinxit.functional.guidance import Thresholding
from pinxit.functional.vectors import unit
from pinxit.pipelines.coroutine import CoroutineWorker, StepGenerator
from pinxit.pipelines.denoise import Denoiser, DenoiseRequest, DenoiseWorker, SamplerState
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.lanes import Lanes
from pinxit.pipelines.rank import best_first, scores
from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import FunctionWorker
from pinxit.recipes.diffusion.conditions import Conditions
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.painter import levels
from pinxit.recipes.diffusion.upsampler import as_picture, masked
from pinxit.recipes.diffusion.window import Window
from pinxit.recipes.ranking import Ranker, embeddings_of, ranking_stages
from pinxit.recipes.requests import Candidate, PaintRequest
from pinxit.recipes.unclip.embedder import Embeds, network_of
from pinxit.recipes.unclip.prior_sampler import PriorSampler
from pinxit.recipes.unclip.settings import NONE, prior_sampling

if TYPE_CHECKING:
    from pinxit.models.clip import CLIP
    from pinxit.recipes.unclip.space import Space
    from pinxit.types import Picture, Ranked

MOVES = 2  # of each prediction towards its embedding: more of what CLIP sees is drawn than by one (docs/log.md)
PRIOR_WEIGHT = 0.1  # share of a picture's time, relative to the decoder's 1


@dataclass(frozen=True)
class Parts:
    """The loaded models that the stages call."""

    denoiser: Denoiser  # the decoder's
    config: StageConfig
    sampling: SamplingConfig
    embedder: Embeds
    priors: Mapping[str, PriorSampler]
    ranker: Ranker
    tile: int  # rows of a call of the decoder


@dataclass(frozen=True)
class PriorRequest:
    """A candidate for which an embedding is to be sampled."""

    conditions: Conditions  # of the caption: `sequence`, `mask`, `pooled`
    candidate: int


@dataclass(frozen=True)
class SamplingStart:
    """Where and how the decoder samples, if not from seeded noise by the painter's settings."""

    noise: Tensor | None = None  # x_T [C, H, W], at the first of `sigmas`
    sigmas: tuple[float, ...] = ()
    sampler: str = "ddim"
    options: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Variation:
    """A picture to be varied."""

    picture: Picture
    start: SamplingStart | None = None  # None: noise from the seed


class InversionWorker(DenoiseWorker):
    """DDIM inversion, which has no previews."""

    def preview(self, state: SamplerState) -> None:
        """No preview."""


def graph(parts: Parts) -> Graph:
    """The stages, and the routes through them."""
    lanes = Lanes(parts.denoiser.device)
    text = FunctionWorker(lambda items: [prior_requests(parts, item.job.request) for item in items], lanes=lanes)
    stages = [
        Stage("text", text),
        Stage("prior", CoroutineWorker(lambda item: sample_prior(parts, item), lanes), weight=PRIOR_WEIGHT),
        Stage("decoder", DenoiseWorker(parts.denoiser, parts.tile, lanes, as_candidate), weight=1.0),
        *ranking_stages(parts.ranker, lanes),
    ]
    route = [stage.name for stage in stages]
    stages += [
        Stage(
            "picture",
            FunctionWorker(lambda items: [variations(parts, item.job.request) for item in items], lanes=lanes),
        ),
        Stage(
            "likeness",
            FunctionWorker(lambda items: [most_similar_first(parts, item) for item in items], lanes=lanes),
            gather=True,
        ),
        Stage("invert", InversionWorker(parts.denoiser, parts.tile, lanes), weight=1.0),
    ]
    vary = ["picture", "decoder", "embed", "likeness"]
    return Graph(stages, {"paint": route, "vary": vary, "draw": ["decoder"], "invert": ["invert"]})


def prior_requests(parts: Parts, asked: PaintRequest) -> list[PriorRequest]:
    """One request for each candidate; the caption is encoded once."""
    conditions = parts.embedder.conditions(asked.prompt.text)
    return [PriorRequest(conditions, candidate) for candidate in range(asked.candidates)]


@torch.inference_mode()
def sample_prior(parts: Parts, item: WorkItem) -> StepGenerator:
    """The decoder's request for a candidate, with an embedding sampled from the prior."""
    asked, wanted = item.job.request, item.value
    settings, seed = asked.settings, asked.prompt.seed
    about = prior_sampling(settings)
    if about.prior == NONE:
        z_E = wanted.conditions["pooled"]
    else:
        z_E = yield from parts.priors[about.prior].steps(wanted.conditions, about, seed, wanted.candidate)
    embedded = parts.embedder.space.encode(z_E)
    return request(parts, settings, embedded, wanted.conditions, seed, wanted.candidate, asked.more)


@torch.inference_mode()
def variations(parts: Parts, asked: PaintRequest) -> list[DenoiseRequest]:
    """The decoder's request for each candidate: conditioned on the picture's embedding, and on no caption."""
    assert isinstance(asked.more, Variation)
    y_K = parts.embedder.space.encode(parts.embedder.pictures([asked.more.picture])[0])
    return [
        request(parts, asked.settings, y_K, None, asked.prompt.seed, candidate, start=asked.more.start)
        for candidate in range(asked.candidates)
    ]


def most_similar_first(parts: Parts, item: WorkItem) -> list[Ranked]:
    """The candidates ranked by the cosine similarity of their CLIP embeddings to the picture's."""
    asked = item.job.request
    drawn, numbers = [one.value for one in item.value], [one.place[-1] for one in item.value]
    (own_E,) = parts.ranker.embed([asked.more.picture])
    assert own_E is not None, "a painter that encodes pictures can rank them"
    likeness = scores(torch.stack([one.embedding for one in drawn]).cpu(), own_E.cpu())
    pictures = [one.picture for one in drawn]
    return best_first(pictures, asked.prompt.seed, likeness, candidates=numbers)[: asked.keep]


def request(
    parts: Parts,
    settings: Mapping[str, Any],
    embedded_K: Tensor,
    caption: Conditions | None,
    seed: int = 0,
    candidate: int = 0,
    window: Any = None,
    start: SamplingStart | None = None,
) -> DenoiseRequest:
    """The decoder's request: a picture with these coordinates of an embedding, and a caption (None: without one).

    `window`, if it is a `Window`: the part of a picture that is kept. `start`: what replaces seeded noise.
    """
    told = caption if settings["text"] else None
    conditions, null = decoder_conditions(parts, embedded_K, told, window, settings["embedding_weight"])
    about = {
        "guidance": settings["guidance"],
        "thresholding": parts.sampling.thresholding(settings["percentile"]),
        "about": window if isinstance(window, Window) else None,
    }
    if start is None:
        sigmas = levels(parts.config.diffusion, settings)
        about["towards"] = guidance_to(embedded_K, parts.embedder, settings["clip_guidance"])
        return DenoiseRequest(conditions, null, sigmas, settings["sampler"], seed, candidate, **about)
    about |= {"guidance": 1.0, "thresholding": Thresholding("none"), "start": start.noise, "options": start.options}
    return DenoiseRequest(conditions, null, start.sigmas, start.sampler, seed, candidate, **about)


def guidance_to(embedded_K: Tensor, embedder: Embeds, step: float) -> ClipGuidance | None:
    """CLIP guidance to all of an embedding; None without a step or a CLIP with a picture tower.

    In the coordinates of the space, as the cosine of embeddings hardly sees what varies little: whitened, all
    components count alike. (Karlo's are the embeddings themselves.)
    """
    clip, space = network_of(embedder), embedder.space
    if clip is None or not step:
        return None
    return ClipGuidance(partial(directions_of, clip, space), unit(embedded_K[None])[0], step, MOVES)


def directions_of(clip: CLIP, space: Space, pictures_B3SS: Tensor) -> Tensor:
    """Unit coordinates [B, K] of square pictures of any size in [0, 1], with gradients."""
    return unit(space.encode(embeddings_of(clip, pictures_B3SS)))


def decoder_conditions(
    parts: Parts, embedded_K: Tensor, caption: Conditions | None, window: Any = None, weight: float = 1.0
) -> tuple[Conditions, Conditions]:
    """The decoder's conditions, and the unconditional ones for guidance: no embedding, no caption.

    `weight`: where a caption is told, the embedding is moved towards none (0), so that it overrules the caption less.
    """
    null = parts.embedder.null_conditions | masked(parts.config, window)
    if caption is not None:
        embedded_K = null["image"].lerp(embedded_K, weight)
    conditions = null | (caption or {}) | {"image": embedded_K}
    return parts.config.accepted(conditions), parts.config.accepted(null)


def as_candidate(request: DenoiseRequest, x0: Tensor) -> Candidate:
    """The picture of a finished sample, or of a predicted one for a preview; kept pixels are pasted back."""
    picture = as_picture(x0)
    return Candidate(picture if request.about is None else request.about.at(len(picture)).pasted(picture))
