"""unCLIP as a graph: how a sentence becomes a picture by way of a CLIP's embedding.

| stage | worker | from | to |
|---|---|---|---|
| `text` | `Each` | the job's `PaintRequest` | a `PriorRequest` a candidate: the caption as the prior is told it |
| `prior` | `CoroutineWorker` | that | the `DenoiseRequest` of an embedding that the prior draws |
| `decoder` | `DenoiseWorker` | that | a `Candidate`: a picture walked down from noise |
| `embed` | `Each` | candidates | the same with their CLIP embeddings |
| `rank` | `Each`, gathers | all candidates of the job | the kept ones as `Ranked`, best first |

Variations begin at `picture`, which asks CLIP what it sees, and end at `likeness`, which ranks by it; the way `draw` is
for embeddings that are there already, `invert` leads from pictures to the noise behind them. Upsamplers follow as in
Imagen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.functional.guidance import Thresholding
from pinxit.pipelines.coroutine import CoroutineWorker, StepGenerator
from pinxit.pipelines.denoise import Denoiser, DenoiseRequest, DenoiseWorker, Walk
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.lanes import Lanes
from pinxit.pipelines.rank import best_first, scores
from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import Each
from pinxit.recipes.diffusion.conditions import Conditions
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.painter import levels
from pinxit.recipes.diffusion.upsampler import as_picture, masked
from pinxit.recipes.diffusion.window import Window
from pinxit.recipes.ranking import Ranker, ranking_stages
from pinxit.recipes.requests import Candidate, PaintRequest
from pinxit.recipes.unclip.embedder import Embeds
from pinxit.recipes.unclip.imagine import Imagination
from pinxit.recipes.unclip.settings import NONE, prior_sampling

if TYPE_CHECKING:
    from pinxit.types import Picture, Ranked

PRIOR_WEIGHT = 0.1  # of a picture's time, beside the decoder's 1


@dataclass(frozen=True)
class Parts:
    """What draws."""

    denoiser: Denoiser  # the decoder's
    config: StageConfig
    sampling: SamplingConfig
    embedder: Embeds
    priors: Mapping[str, Imagination]
    ranker: Ranker
    tile: int  # rows of a call of the decoder


@dataclass(frozen=True)
class PriorRequest:
    """A candidate on its way to an embedding."""

    conditions: Conditions  # of the caption: `sequence`, `mask`, `pooled`
    candidate: int


@dataclass(frozen=True)
class Start:
    """Where the decoder begins, and how it walks, where that is not from noise by the settings."""

    noise: Tensor | None = None  # x_T [C, H, W], of the first of `sigmas`
    sigmas: tuple[float, ...] = ()
    sampler: str = "ddim"
    options: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Variation:
    """A picture to be varied."""

    picture: Picture
    start: Start | None = None  # None: noise of the seed


class Inverting(DenoiseWorker):
    """Walks from pictures to the noise behind them; there is nothing to see on the way."""

    def look(self, state: Walk) -> None:
        """Nothing."""


def graph(parts: Parts) -> Graph:
    """The stages, and the ways through them."""
    lanes = Lanes(parts.denoiser.device)
    text = Each(lambda items: [prior_requests(parts, item.job.request) for item in items], lanes=lanes)
    stages = [
        Stage("text", text),
        Stage("prior", CoroutineWorker(lambda item: imagined(parts, item), lanes), weight=PRIOR_WEIGHT),
        Stage("decoder", DenoiseWorker(parts.denoiser, parts.tile, lanes, drawn), weight=1.0),
        *ranking_stages(parts.ranker, lanes),
    ]
    route = [stage.name for stage in stages]
    stages += [
        Stage("picture", Each(lambda items: [variations(parts, item.job.request) for item in items], lanes=lanes)),
        Stage("likeness", Each(lambda items: [likest_first(parts, item) for item in items], lanes=lanes), gather=True),
        Stage("invert", Inverting(parts.denoiser, parts.tile, lanes), weight=1.0),
    ]
    vary = ["picture", "decoder", "embed", "likeness"]
    return Graph(stages, {"paint": route, "vary": vary, "draw": ["decoder"], "invert": ["invert"]})


def prior_requests(parts: Parts, asked: PaintRequest) -> list[PriorRequest]:
    """One a candidate, of one reading."""
    conditions = parts.embedder.conditions(asked.prompt.text)
    return [PriorRequest(conditions, candidate) for candidate in range(asked.candidates)]


@torch.inference_mode()
def imagined(parts: Parts, item: WorkItem) -> StepGenerator:
    """The decoder's request for a candidate, from the embedding that the prior tells."""
    asked, asked_for = item.job.request, item.value
    settings, seed = asked.settings, asked.prompt.seed
    about = prior_sampling(settings)
    if about.prior == NONE:
        z_E = asked_for.conditions["pooled"]
    else:
        z_E = yield from parts.priors[about.prior].steps(asked_for.conditions, about, seed, asked_for.candidate)
    embedded = parts.embedder.space.into(z_E)
    return request(parts, settings, embedded, asked_for.conditions, seed, asked_for.candidate, asked.more)


@torch.inference_mode()
def variations(parts: Parts, asked: PaintRequest) -> list[DenoiseRequest]:
    """Of each candidate what the decoder is asked: what CLIP sees in the picture, and no caption."""
    assert isinstance(asked.more, Variation)
    y_K = parts.embedder.space.into(parts.embedder.pictures([asked.more.picture])[0])
    return [
        request(parts, asked.settings, y_K, None, asked.prompt.seed, candidate, start=asked.more.start)
        for candidate in range(asked.candidates)
    ]


def likest_first(parts: Parts, item: WorkItem) -> list[Ranked]:
    """The candidates in which CLIP sees what is most like the picture, with the cosine as their score."""
    asked = item.job.request
    drawn, numbers = [one.value for one in item.value], [one.place[-1] for one in item.value]
    (own_E,) = parts.ranker.embed([asked.more.picture])
    assert own_E is not None, "who sees pictures ranks them"
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
    start: Start | None = None,
) -> DenoiseRequest:
    """What the decoder is asked: a picture of an embedding's coordinates and of a caption; None: the caption withheld.

    A `Window` is the part of a picture that is kept; `start` where the decoder begins instead of at noise of its own.
    """
    conditions, null = conditioned(parts, embedded_K, caption if settings["text"] else None, window)
    about = {
        "guidance": settings["guidance"],
        "thresholding": parts.sampling.thresholding(settings["percentile"]),
        "about": window if isinstance(window, Window) else None,
    }
    if start is None:
        sigmas = levels(parts.config.diffusion, settings)
        return DenoiseRequest(conditions, null, sigmas, settings["sampler"], seed, candidate, **about)
    about |= {"guidance": 1.0, "thresholding": Thresholding("none"), "start": start.noise, "options": start.options}
    return DenoiseRequest(conditions, null, start.sigmas, start.sampler, seed, candidate, **about)


def conditioned(
    parts: Parts, embedded_K: Tensor, caption: Conditions | None, window: Any = None
) -> tuple[Conditions, Conditions]:
    """What the decoder is told, and what guidance leads away from: no embedding and no caption."""
    nothing = parts.embedder.nothing | masked(parts.config, window)
    conditions = nothing | (caption or {}) | {"image": embedded_K}
    return parts.config.accepted(conditions), parts.config.accepted(nothing)


def drawn(request: DenoiseRequest, x0: Tensor) -> Candidate:
    """A finished picture, or a look at one; what of a window is kept is the window's own."""
    picture = as_picture(x0)
    return Candidate(picture if request.about is None else request.about.at(len(picture)).pasted(picture))
