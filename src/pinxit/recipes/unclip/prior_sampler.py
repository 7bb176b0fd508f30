"""Sampling image embeddings from a prior: of several tries the one most similar to the caption's embedding is kept.

An embedding is a function of (caption, seed, candidate) and the settings: the tries of one candidate are a batch of a
fixed size. Sampling is a coroutine that yields after each call of the network, so that the engine can interleave other
work. Shapes: T tries, K coordinates, E embedding, L text positions.
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

NOISE_STAGE = 1000  # keys the noise of a prior's first try; each try has noise of its own, unlike any picture's


@dataclass(frozen=True)
class PriorSampler:
    """A prior with its space, on a device."""

    prior: DiffusionPrior | TokenPrior
    space: Space
    diffusion: DiffusionConfig
    device: torch.device
    null: Conditions | None = None  # the unconditional ones; None: those of the caption with an empty mask

    def __call__(self, conditions: Conditions, sampling: PriorSampling, seed: int = 0, candidate: int = 0) -> Tensor:
        """An image embedding [E], of length one, for a caption.

        `conditions` of the caption: `sequence` [L, D], `mask` [L], `pooled` [E], its CLIP embedding. Raises UsageError
        for conditions that do not fit the prior.
        """
        z_E: Tensor = run_to_end(self.steps(conditions, sampling, seed, candidate))
        return z_E

    @torch.inference_mode()
    def steps(self, conditions: Conditions, sampling: PriorSampling, seed: int, candidate: int) -> StepGenerator:
        """The same, as a coroutine."""
        self.prior.config.check({name: tuple(tensor.shape) for name, tensor in conditions.items()})
        rows = {
            name: tensor.to(self.device).expand(sampling.tries, *tensor.shape) for name, tensor in conditions.items()
        }
        if isinstance(self.prior, TokenPrior):
            y_TK = yield from sample_tokens(self.prior, self.space, rows, sampling, seed, candidate)
        else:
            denoiser = PriorDenoiser(self.prior, self.diffusion, self.device)
            without = unconditional(rows, self.null)
            y_TK = yield from sample_diffusion(denoiser, self.diffusion, rows, sampling, seed, candidate, without)
        return most_similar(self.space.decode(y_TK), rows["pooled"][0])


def most_similar(z_TE: Tensor, pooled_E: Tensor) -> Tensor:
    """Of several image embeddings the one with the largest cosine to the caption's, the first among equals."""
    return z_TE[(unit(z_TE) * pooled_E).sum(1).argmax()]


def unconditional(conditions: Mapping[str, Tensor], null: Conditions | None = None) -> Conditions:
    """The conditions without a caption, for guidance: `null`, those of one row, or the same with an empty mask."""
    if null is not None:
        return {name: null[name].to(rows.device).expand_as(rows) for name, rows in conditions.items()}
    return dict(conditions) | {"mask": torch.zeros_like(conditions["mask"])}


def sample_diffusion(
    denoiser: Denoiser,
    diffusion: DiffusionConfig,
    conditions: Conditions,
    sampling: PriorSampling,
    seed: int,
    candidate: int,
    null: Conditions | None = None,
) -> StepGenerator:
    """Coordinates [T, K], sampled from noise; `conditions` and `null`, for guidance, have a row for each try."""
    T, device = len(conditions["mask"]), denoiser.device
    draws = [normals(seed, candidate, NOISE_STAGE + row, denoiser.shape) for row in range(T)]
    guided, clipping = sampling.guidance != 1, Thresholding("clip", sampling.limit)
    without = unconditional(conditions) if null is None else null
    both = {name: torch.cat([rows, without[name]]) for name, rows in conditions.items()} if guided else conditions

    def noise() -> Tensor:
        return torch.stack([next(draw) for draw in draws]).to(device)

    def denoise(x: Tensor, sigma: float) -> Denoised:
        x = torch.cat([x, x]) if guided else x
        x0 = denoiser(x, torch.full((len(x),), sigma, device=device), both).x0
        return Denoised(threshold(guide(x0[:T], x0[T:], sampling.guidance) if guided else x0, clipping))

    sigmas, method = diffusion.even_sigmas(sampling.steps), SAMPLERS[sampling.sampler]
    sampler = method.run(noise() * math.hypot(1.0, sigmas[0]), sigmas, noise)
    query, evaluated, total = next(sampler), 0, method.evaluations(sampling.steps)
    while True:
        try:
            query = sampler.send(denoise(query.x, query.sigma))
        except StopIteration as stop:
            return stop.value
        evaluated += 1
        yield evaluated / total


def sample_tokens(
    prior: TokenPrior, space: Space, conditions: Conditions, sampling: PriorSampling, seed: int, candidate: int
) -> StepGenerator:
    """Coordinates [T, K], sampled one after the other; `conditions` has a row for each try.

    The dot product with the caption's embedding is drawn from the upper part of its distribution (section 2.2: the top
    half); its buckets have equal mass.
    """
    T, K, device = len(conditions["mask"]), prior.config.components, conditions["mask"].device
    draws_TP = torch.stack([uniforms(seed, candidate, 1 + K, NOISE_STAGE + row) for row in range(T)]).to(device)
    dot_T = draw_dots(prior.config.dots, sampling.likeness, draws_TP[:, 0])
    guided = sampling.guidance != 1
    if guided:
        conditions = {name: torch.cat([rows, unconditional(conditions)[name]]) for name, rows in conditions.items()}
        dot_T = torch.cat([dot_T, dot_T])
    decoder, codes = PriorDecoder(prior, conditions, dot_T), []
    for place in range(K):
        yield place / K
        logits = decoder.logits
        if guided:
            logits = guide_logits(logits[:T], logits[T:], logits.new_full((T,), sampling.guidance))
        top_p = None if sampling.top_p == 1 else logits.new_full((T,), sampling.top_p)
        settings = (logits.new_full((T,), sampling.temperature), None, top_p)
        codes.append(sample(logits, draws_TP[:, 1 + place], *settings))
        if place < K - 1:
            decoder.step(torch.cat([codes[-1]] * 2) if guided else codes[-1])
    return space.buckets.values(torch.stack(codes, 1))


def draw_dots(buckets: int, above: float, uniform_T: Tensor) -> Tensor:
    """int64 [T]: buckets drawn from above a quantile of the distribution; at least from the last one."""
    first = min(math.floor(above * buckets), buckets - 1)
    return first + (uniform_T * (buckets - first)).long()
