"""How an unCLIP paints: the decoder's settings and, beside them, the prior's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pinxit.errors import UsageError
from pinxit.functional.samplers import FROM_NOISE
from pinxit.recipes.diffusion.config import SamplingConfig, Steps
from pinxit.recipes.unclip.config import NONE, PriorSampling, Tries
from pinxit.schema import NotNegative, Positive, Share

__all__ = ["NONE", "PRIORS", "UnclipSampling", "prior_sampling"]

PRIORS = {
    "prior": "prior",
    "tries": "tries",
    "prior_guidance": "guidance",
    "prior_sampler": "sampler",
    "prior_steps": "steps",
    "prior_limit": "limit",
    "prior_temperature": "temperature",
    "prior_top_p": "top_p",
    "likeness": "likeness",
}
"""The prior's settings by the names that a painter has them under."""


@dataclass(frozen=True, slots=True)
class UnclipSampling(SamplingConfig):
    """All settings of an unCLIP; see `SamplingConfig` for the decoder's and `PriorSampling` for the prior's."""

    text: bool = True  # whether the decoder is told the caption besides the embedding
    prior: str = ""  # which prior; "none": the caption's own embedding stands for the picture's
    tries: Tries = 2
    prior_guidance: NotNegative = 1.0
    prior_sampler: str = "dpm++2m-sde"
    prior_steps: Steps = 25
    prior_limit: Positive = 5.0
    prior_temperature: NotNegative = 1.0
    prior_top_p: Share = 1.0
    likeness: Share = 0.5

    def __post_init__(self) -> None:
        SamplingConfig.__post_init__(self)
        if self.prior_sampler not in FROM_NOISE:
            raise UsageError(f"there is no sampler '{self.prior_sampler}'; choose from {', '.join(FROM_NOISE)}.")


def prior_sampling(settings: Mapping[str, Any]) -> PriorSampling:
    """The prior's part of a painter's settings."""
    return PriorSampling(**{field: settings[name] for name, field in PRIORS.items()})
