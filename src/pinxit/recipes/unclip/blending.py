"""Interpolation between two pictures as a job of the engine: both are inverted, and pictures between them decoded.

unCLIP (arXiv 2204.06125), section 3.2. The stages; `invert`, `decoder` and `embed` are the painter's own:

| stage | from | to |
|---|---|---|
| `ends` | the job's `PaintRequest` | a `DenoiseRequest` that inverts each picture |
| `interpolate` | the noise of both pictures | a `DenoiseRequest` for each picture of the blend |
| `order` | the candidates, with their CLIP embeddings | `Ranked`, in the order of the blend |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.data.transforms import square_crop, to_tensor
from pinxit.functional.vectors import slerp
from pinxit.pipelines.denoise import DenoiseRequest
from pinxit.pipelines.graph import Stage
from pinxit.pipelines.lanes import Lanes
from pinxit.pipelines.rank import scores
from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import FunctionWorker
from pinxit.recipes.diffusion.config import Steps
from pinxit.recipes.diffusion.painter import levels
from pinxit.recipes.requests import PaintRequest
from pinxit.recipes.unclip.graph import Parts, SamplingStart, request
from pinxit.schema import checked, plain_number
from pinxit.types import Filter, Ranked

if TYPE_CHECKING:
    from pinxit.types import Picture

ROUTE = ("ends", "invert", "interpolate", "decoder", "embed", "order")


@dataclass(frozen=True)
class Blend:
    """Two pictures, and the number of DDIM steps for inverting them and for decoding."""

    one: Picture
    other: Picture
    steps: int


def stages(parts: Parts, lanes: Lanes) -> list[Stage]:
    """The stages of `ROUTE` that other routes do not have."""
    return [
        Stage(
            "ends",
            FunctionWorker(lambda items: [inversion_requests(parts, item.job.request) for item in items], lanes=lanes),
        ),
        Stage(
            "interpolate",
            FunctionWorker(lambda items: [interpolated_requests(parts, item) for item in items], lanes=lanes),
            gather=True,
        ),
        Stage(
            "order", FunctionWorker(lambda items: [in_order(parts, item) for item in items], lanes=lanes), gather=True
        ),
    ]


@torch.inference_mode()
def inversion_requests(parts: Parts, asked: PaintRequest) -> list[DenoiseRequest]:
    """The inversion of each picture."""
    blend = _blend(asked)
    pictures = [blend.one, blend.other]
    return [
        inversion_request(parts, asked.settings, z_E, picture, blend.steps)
        for z_E, picture in zip(parts.embedder.pictures(pictures), pictures, strict=True)
    ]


@torch.inference_mode()
def interpolated_requests(parts: Parts, item: WorkItem) -> list[DenoiseRequest]:
    """The request for each picture of the blend: embedding and noise are interpolated spherically."""
    asked, noises = item.job.request, [one.value for one in item.value]
    blend = _blend(asked)
    embeddings = parts.embedder.pictures([blend.one, blend.other])
    found = []
    for place, fraction in enumerate(_fractions(asked)):
        z_E, noise = interpolate(embeddings[0], embeddings[1], fraction), interpolate(noises[0], noises[1], fraction)
        drawing = ddim_request(parts, asked.settings, z_E, noise, sigmas(parts, blend.steps))
        found.append(replace(drawing, options={"eta": 0.0}, candidate=place))
    return found


@torch.inference_mode()
def in_order(parts: Parts, item: WorkItem) -> list[Ranked]:
    """The pictures in their order; scores are cosine similarities to the ranker's interpolated embeddings."""
    asked, met = item.job.request, item.value
    blend = _blend(asked)
    first_E, second_E = parts.ranker.embed([blend.one, blend.other])
    assert first_E is not None and second_E is not None, "a painter that encodes pictures can rank them"
    found = []
    for candidate, fraction in zip(met, _fractions(asked), strict=True):
        own_E = interpolate(first_E, second_E, fraction)
        (score,) = scores(candidate.value.embedding[None].cpu(), own_E.cpu())
        found.append(Ranked(candidate.value.picture, asked.prompt.seed, candidate.place[-1], score))
    return found


def inversion_request(
    parts: Parts, settings: Mapping[str, Any], z_E: Tensor, picture: Picture, steps: int
) -> DenoiseRequest:
    """The DDIM inversion of a picture with the CLIP embedding `z_E`, down to its noise."""
    ascending = tuple(reversed(sigmas(parts, steps)))
    found = ddim_request(parts, settings, z_E, decoder_input(parts, picture), ascending)
    return replace(found, sampler="ddim-inversion", options={"refine": 1})


def ddim_request(
    parts: Parts, settings: Mapping[str, Any], z_E: Tensor, noise: Tensor, grid: tuple[float, ...]
) -> DenoiseRequest:
    """Deterministic DDIM from a given noise, conditioned on an embedding and on no caption."""
    own_settings = dict(settings) | {"text": False}
    return request(parts, own_settings, parts.embedder.space.encode(z_E), None, start=SamplingStart(noise, grid))


def decoder_input(parts: Parts, picture: Picture) -> Tensor:
    """The centre square at the decoder's size, [3, S, S] in [-1, 1]."""
    size = parts.config.size
    filtered: Filter = "area" if min(picture.shape[:2]) > size else "bicubic"
    return to_tensor(square_crop(picture, size, filtered)[None])[0] * 2 - 1


def sigmas(parts: Parts, steps: int) -> tuple[float, ...]:
    """Descending to 0: EDM's spacing, from its first sigma, which is as good as pure noise.

    Raises UsageError for a number of steps that no sampler takes.
    """
    steps = checked(Steps, plain_number(steps), "ddim_steps")
    return levels(parts.config.diffusion, {"grid": "karras", "steps": steps})


def interpolate(one: Tensor, other: Tensor, fraction: float) -> Tensor:
    """Spherical interpolation; at 0 and 1 the given tensors themselves.

    In 64 bits, so that a blend from b to a has the pictures of one from a to b: a network magnifies rounding errors.
    """
    if fraction in (0.0, 1.0):
        return other if fraction else one
    return slerp(one[None].double(), other[None].double(), fraction)[0].to(one.dtype)


def _fractions(asked: PaintRequest) -> Sequence[float]:
    return [place / (asked.candidates - 1) for place in range(asked.candidates)]


def _blend(asked: PaintRequest) -> Blend:
    assert isinstance(asked.more, Blend)
    return asked.more
