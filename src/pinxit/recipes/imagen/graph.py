"""Imagen as a graph: how a sentence becomes a picture (DeepFloyd IF, the same system, shares it).

| stage | worker | from | to |
|---|---|---|---|
| `text` | `FunctionWorker` | the job's `PaintRequest` | a `DenoiseRequest` a candidate: text vectors, noise levels |
| `denoise` | `DenoiseWorker` | a `DenoiseRequest` | a `Candidate`: the base's picture, sampled from noise |
| `embed` | `FunctionWorker` | candidates | the same with their CLIP embeddings |
| `rank` | `FunctionWorker`, gathers | all candidates of the job | the kept ones as `Ranked`, best first |

If kept pictures are enlarged, the stages of `recipes.diffusion.upsampler` follow: for every upsampler of the cascade
one that noises the smaller picture (conditioning augmentation) and one that denoises the larger.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pinxit.pipelines.denoise import Denoiser, DenoiseRequest, DenoiseWorker
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.lanes import Lanes
from pinxit.pipelines.worker import FunctionWorker
from pinxit.recipes.diffusion.conditions import Captions
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.painter import levels
from pinxit.recipes.diffusion.upsampler import as_picture
from pinxit.recipes.ranking import Ranker, clip_guidance, ranking_stages
from pinxit.recipes.requests import Candidate, PaintRequest


@dataclass(frozen=True)
class Parts:
    """The loaded models that the stages call."""

    denoiser: Denoiser  # the base
    config: StageConfig
    sampling: SamplingConfig
    captions: Captions
    ranker: Ranker
    tile: int  # rows of a call of the base


def graph(parts: Parts) -> Graph:
    """The stages, and the route of a prompt through them."""
    lanes = Lanes(parts.denoiser.device)
    stages = [
        Stage("text", FunctionWorker(lambda items: [requests(parts, item.job.request) for item in items], lanes=lanes)),
        Stage("denoise", DenoiseWorker(parts.denoiser, parts.tile, lanes, candidate), weight=1.0),
        *ranking_stages(parts.ranker, lanes),
    ]
    return Graph(stages, {"paint": [stage.name for stage in stages]})


def requests(parts: Parts, asked: PaintRequest) -> list[DenoiseRequest]:
    """One `DenoiseRequest` for each candidate: conditions, unconditional ones for guidance, the sampler's sigmas."""
    prompt, settings = asked.prompt, asked.settings
    conditions, null = map(parts.config.accepted, parts.captions(prompt.text))
    sigmas = levels(parts.config.diffusion, settings)
    thresholding = parts.sampling.thresholding(settings["percentile"])
    towards = clip_guidance(parts.ranker.clip, lambda: parts.ranker.text(prompt.text), settings)
    return [
        DenoiseRequest(
            conditions,
            null,
            sigmas,
            settings["sampler"],
            prompt.seed,
            number,
            guidance=settings["guidance"],
            thresholding=thresholding,
            towards=towards,
        )
        for number in range(asked.candidates)
    ]


def candidate(request: DenoiseRequest, x0: Tensor) -> Candidate:
    """The picture of a finished sample, or of a predicted one for a preview."""
    return Candidate(as_picture(x0))
