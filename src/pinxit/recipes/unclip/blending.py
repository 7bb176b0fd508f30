"""From one picture to another as a job of the engine: both ends down to their noise, and back from between them.

unCLIP (arXiv 2204.06125), section 3.2. The stages, between which `invert`, `decoder` and `embed` are the painter's own:

| stage | from | to |
|---|---|---|
| `ends` | the job's `PaintRequest` | what leads from each picture to the noise behind it |
| `way` | both noises | what draws each picture on the way |
| `strip` | the candidates, which CLIP has seen | `Ranked` in the order of the way |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.data.transforms import square, to_tensor
from pinxit.functional.diffusion import karras_sigmas
from pinxit.functional.vectors import slerp
from pinxit.pipelines.denoise import DenoiseRequest
from pinxit.pipelines.graph import Stage
from pinxit.pipelines.lanes import Lanes
from pinxit.pipelines.rank import scores
from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import Each
from pinxit.recipes.diffusion.painter import KARRAS_FIRST
from pinxit.recipes.requests import PaintRequest
from pinxit.recipes.unclip.graph import Parts, Start, request
from pinxit.types import Filter, Ranked

if TYPE_CHECKING:
    from pinxit.types import Picture

ROUTE = ("ends", "invert", "way", "decoder", "embed", "strip")


@dataclass(frozen=True)
class Blend:
    """Two pictures, and how many steps lead to the noise behind them, and as many back."""

    one: Picture
    other: Picture
    steps: int


def stages(parts: Parts, lanes: Lanes) -> list[Stage]:
    """Those of `ROUTE` that other routes have not."""
    return [
        Stage("ends", Each(lambda items: [ends(parts, item.job.request) for item in items], lanes=lanes)),
        Stage("way", Each(lambda items: [way(parts, item) for item in items], lanes=lanes), gather=True),
        Stage("strip", Each(lambda items: [strip(parts, item) for item in items], lanes=lanes), gather=True),
    ]


@torch.inference_mode()
def ends(parts: Parts, asked: PaintRequest) -> list[DenoiseRequest]:
    """What leads to the noise behind each picture."""
    blend = _blend(asked)
    pictures = [blend.one, blend.other]
    return [
        inverting(parts, asked.settings, z_E, picture, blend.steps)
        for z_E, picture in zip(parts.embedder.pictures(pictures), pictures, strict=True)
    ]


@torch.inference_mode()
def way(parts: Parts, item: WorkItem) -> list[DenoiseRequest]:
    """What draws each picture from one end to the other: embedding and noise go along great circles."""
    asked, noises = item.job.request, [one.value for one in item.value]
    blend = _blend(asked)
    embeddings = parts.embedder.pictures([blend.one, blend.other])
    found = []
    for place, share in enumerate(_shares(asked)):
        z_E, noise = between(embeddings[0], embeddings[1], share), between(noises[0], noises[1], share)
        drawing = from_noise(parts, asked.settings, z_E, noise, sigmas(parts, blend.steps))
        found.append(replace(drawing, options={"eta": 0.0}, candidate=place))
    return found


@torch.inference_mode()
def strip(parts: Parts, item: WorkItem) -> list[Ranked]:
    """In the order of the way; the score is how much like what was told the ranker sees each, a cosine."""
    asked, met = item.job.request, item.value
    blend = _blend(asked)
    one_E, other_E = parts.ranker.embed([blend.one, blend.other])
    assert one_E is not None and other_E is not None, "who sees pictures ranks them"
    found = []
    for candidate, share in zip(met, _shares(asked), strict=True):
        own_E = between(one_E, other_E, share)
        (score,) = scores(candidate.value.embedding[None].cpu(), own_E.cpu())
        found.append(Ranked(candidate.value.picture, asked.prompt.seed, candidate.place[-1], score))
    return found


def inverting(parts: Parts, settings: Mapping[str, Any], z_E: Tensor, picture: Picture, steps: int) -> DenoiseRequest:
    """What leads to the noise behind a picture, of which CLIP sees `z_E`."""
    ascending = tuple(reversed(sigmas(parts, steps)))
    found = from_noise(parts, settings, z_E, pixels(parts, picture), ascending)
    return replace(found, sampler="ddim-inversion", options={"refine": 1})


def from_noise(
    parts: Parts, settings: Mapping[str, Any], z_E: Tensor, noise: Tensor, grid: tuple[float, ...]
) -> DenoiseRequest:
    """Deterministic DDIM from a noise, told an embedding and no caption."""
    about = dict(settings) | {"text": False}
    return request(parts, about, parts.embedder.space.into(z_E), None, start=Start(noise, grid))


def pixels(parts: Parts, picture: Picture) -> Tensor:
    """The centre square as the decoder sees it, [3, S, S] in [-1, 1]."""
    size = parts.config.size
    filtered: Filter = "area" if min(picture.shape[:2]) > size else "bicubic"
    return to_tensor(square(picture, size, filtered)[None])[0] * 2 - 1


def sigmas(parts: Parts, steps: int) -> tuple[float, ...]:
    """Descending to 0, close together where it is clean: EDM's, from its first, which is as good as pure noise."""
    return tuple(karras_sigmas(steps, float(parts.config.diffusion.sigma_at(0.0)), KARRAS_FIRST))


def between(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Along the great circle; the ends are the very tensors.

    In 64 bits, so that the pictures between b and a are those between a and b: a network magnifies rounding.
    """
    if share in (0.0, 1.0):
        return other if share else one
    return slerp(one[None].double(), other[None].double(), share)[0].to(one.dtype)


def _shares(asked: PaintRequest) -> Sequence[float]:
    return [place / (asked.candidates - 1) for place in range(asked.candidates)]


def _blend(asked: PaintRequest) -> Blend:
    assert isinstance(asked.more, Blend)
    return asked.more
