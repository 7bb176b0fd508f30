"""Drawing embeddings from a prior: of several tries the one whose picture and caption are most alike is kept.

An embedding is a function of (caption, seed, candidate) and the settings alone: the tries of one are a batch of a shape
that never changes. Drawing is a coroutine that yields after each call of the network, so that the engine may do other
things meanwhile. Shapes: T tries, K coordinates, E embedding, L text positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pinxit.functional.guidance import Thresholding, guide, threshold
from pinxit.functional.samplers import SAMPLERS, Denoised
from pinxit.functional.sampling import guide as guide_logits
from pinxit.functional.sampling import normals, sample, uniforms
from pinxit.functional.vectors import unit
from pinxit.models.prior import DiffusionPrior, TokenPrior
from pinxit.models.prior_decoder import PriorDecoder
from pinxit.pipelines.coroutine import StepGenerator, run_to_end
from pinxit.pipelines.denoise import Denoiser
from pinxit.recipes.diffusion.conditions import Conditions
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.unclip.config import PriorSampling
from pinxit.recipes.unclip.denoiser import PriorDenoiser
from pinxit.recipes.unclip.space import Space

STAGE = 1000  # of a prior's first try: each has noise of its own, and none of a picture's


@dataclass(frozen=True)
class Imagination:
    """A prior with the space that it draws in, on a device."""

    prior: DiffusionPrior | TokenPrior
    space: Space
    diffusion: DiffusionConfig
    device: torch.device
    nothing: Conditions | None = None  # what is told without a caption; None: the same as of one, its mask empty

    def __call__(self, conditions: Conditions, about: PriorSampling, seed: int = 0, candidate: int = 0) -> Tensor:
        """The embedding [E], of length one, that a picture of a caption may have.

        `conditions`, of one caption: `sequence` [L, D], `mask` [L], `pooled` [E], its CLIP embedding. Raises UsageError
        for conditions that the prior does not take.
        """
        z_E: Tensor = run_to_end(self.steps(conditions, about, seed, candidate))
        return z_E

    @torch.inference_mode()
    def steps(self, conditions: Conditions, about: PriorSampling, seed: int, candidate: int) -> StepGenerator:
        """The same, call by call."""
        self.prior.config.check({name: tuple(tensor.shape) for name, tensor in conditions.items()})
        rows = {name: tensor.to(self.device).expand(about.tries, *tensor.shape) for name, tensor in conditions.items()}
        if isinstance(self.prior, TokenPrior):
            y_TK = yield from by_tokens(self.prior, self.space, rows, about, seed, candidate)
        else:
            denoiser = PriorDenoiser(self.prior, self.diffusion, self.device)
            without = without_caption(rows, self.nothing)
            y_TK = yield from by_diffusion(denoiser, self.diffusion, rows, about, seed, candidate, without)
        return likest(self.space.back(y_TK), rows["pooled"][0])


def likest(z_TE: Tensor, pooled_E: Tensor) -> Tensor:
    """Of several embeddings of pictures that which lies nearest to the caption's, the first among equals."""
    return z_TE[(unit(z_TE) * pooled_E).sum(1).argmax()]


def without_caption(conditions: Mapping[str, Tensor], nothing: Conditions | None = None) -> Conditions:
    """What guidance leads away from: `nothing`, that of one row, or the same with nothing told."""
    if nothing is not None:
        return {name: nothing[name].to(rows.device).expand_as(rows) for name, rows in conditions.items()}
    return dict(conditions) | {"mask": torch.zeros_like(conditions["mask"])}


def by_diffusion(
    denoiser: Denoiser,
    diffusion: DiffusionConfig,
    conditions: Conditions,
    about: PriorSampling,
    seed: int,
    candidate: int,
    nothing: Conditions | None = None,
) -> StepGenerator:
    """Coordinates [T, K] out of noise; `conditions` has a row for each try, and so has `nothing`, for guidance."""
    T, device = len(conditions["mask"]), denoiser.device
    draws = [normals(seed, candidate, STAGE + row, denoiser.shape) for row in range(T)]
    guided, limit = about.guidance != 1, Thresholding("clip", about.limit)
    without = without_caption(conditions) if nothing is None else nothing
    both = {name: torch.cat([rows, without[name]]) for name, rows in conditions.items()} if guided else conditions

    def noise() -> Tensor:
        return torch.stack([next(draw) for draw in draws]).to(device)

    def denoise(x: Tensor, sigma: float) -> Denoised:
        x = torch.cat([x, x]) if guided else x
        x0 = denoiser(x, torch.full((len(x),), sigma, device=device), both).x0
        return Denoised(threshold(guide(x0[:T], x0[T:], about.guidance) if guided else x0, limit))

    sigmas, method = diffusion.even_sigmas(about.steps), SAMPLERS[about.sampler]
    sampler = method.run(noise() * math.hypot(1.0, sigmas[0]), sigmas, noise)
    query, asked, all_of_them = next(sampler), 0, method.evaluations(about.steps)
    while True:
        try:
            query = sampler.send(denoise(query.x, query.sigma))
        except StopIteration as stop:
            return stop.value
        asked += 1
        yield asked / all_of_them


def by_tokens(
    prior: TokenPrior, space: Space, conditions: Conditions, about: PriorSampling, seed: int, candidate: int
) -> StepGenerator:
    """Coordinates [T, K], one after the other; `conditions` has a row for each try.

    The dot product with the caption is drawn from the upper part of its distribution, in which every bucket has the
    same mass (section 2.2: the top half).
    """
    T, K, device = len(conditions["mask"]), prior.config.components, conditions["mask"].device
    draws_TP = torch.stack([uniforms(seed, candidate, 1 + K, STAGE + row) for row in range(T)]).to(device)
    dot_T = likely_dots(prior.config.dots, about.likeness, draws_TP[:, 0])
    guided = about.guidance != 1
    if guided:
        conditions = {name: torch.cat([rows, without_caption(conditions)[name]]) for name, rows in conditions.items()}
        dot_T = torch.cat([dot_T, dot_T])
    decoder, codes = PriorDecoder(prior, conditions, dot_T), []
    for place in range(K):
        yield place / K
        logits = decoder.logits
        if guided:
            logits = guide_logits(logits[:T], logits[T:], logits.new_full((T,), about.guidance))
        top_p = None if about.top_p == 1 else logits.new_full((T,), about.top_p)
        settings = (logits.new_full((T,), about.temperature), None, top_p)
        codes.append(sample(logits, draws_TP[:, 1 + place], *settings))
        if place < K - 1:
            decoder.step(torch.cat([codes[-1]] * 2) if guided else codes[-1])
    return space.buckets.values(torch.stack(codes, 1))


def likely_dots(buckets: int, above: float, uniform_T: Tensor) -> Tensor:
    """int64 [T]: buckets from the part of the distribution above that share; at least the last one."""
    first = min(math.floor(above * buckets), buckets - 1)
    return first + (uniform_T * (buckets - first)).long()
