"""Values that change while training, as pure functions of how far it is (updates or images seen: the caller's unit)."""

from __future__ import annotations

import math
from dataclasses import dataclass


def linear(step: float, start: float, end: float, over: float) -> float:
    """From `start` at step 0 to `end` at step `over` along a line; constant outside."""
    return start + (end - start) * _done(step, over)


def cosine(step: float, start: float, end: float, over: float) -> float:
    """From `start` at step 0 to `end` at step `over` along half a cosine wave; constant outside.

    DALL-E (arXiv 2102.12092), appendix A.2, anneals KL weight, temperature and learning rate this way.
    """
    return start + (end - start) * 0.5 * (1 - math.cos(math.pi * _done(step, over)))


def warmup_cosine(step: float, peak: float, end: float, warmup: float, over: float) -> float:
    """Linear from 0 to `peak` during `warmup`, then cosine to `end`, reached at `over` steps in all."""
    if step < warmup:
        return linear(step, 0.0, peak, warmup)
    return cosine(step - warmup, peak, end, over - warmup)


def warmup_constant(step: float, peak: float, warmup: float) -> float:
    """Linear from 0 to `peak` during `warmup`, then constant."""
    return linear(step, 0.0, peak, warmup)


@dataclass(frozen=True)
class Cosine:
    """A cosine schedule as a config value: `Cosine(0, 6.6, 5_000)(step)`."""

    start: float
    end: float
    over: float

    def __call__(self, step: float) -> float:
        return cosine(step, self.start, self.end, self.over)


# The paper's discrete VAE, in updates of 512 pictures (arXiv 2102.12092, appendix A.2).
DVAE_BETA = Cosine(0.0, 6.6, 5_000)
DVAE_TEMPERATURE = Cosine(1.0, 1 / 16, 150_000)
DVAE_LEARNING_RATE = Cosine(1e-4, 1.25e-6, 1_200_000)


def _done(step: float, over: float) -> float:
    return 1.0 if over <= 0 else min(max(step / over, 0.0), 1.0)
