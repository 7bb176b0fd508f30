"""The settings of an unCLIP painter: the decoder's and the prior's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pinxit.functional.samplers import check_from_noise
from pinxit.recipes.diffusion.config import SamplingConfig, Steps
from pinxit.recipes.unclip.config import NONE, PriorSampling, Tries
from pinxit.schema import NotNegative, Positive, Share

__all__ = ["NONE", "OF_DIFFUSION", "OF_TOKENS", "PRIOR_SETTINGS", "UnclipSampling", "prior_sampling"]

PRIOR_SETTINGS = {
    "prior": "prior",
    "tries": "tries",
    "prior_guidance": "guidance",
    "prior_sampler": "sampler",
    "prior_steps": "steps",
    "prior_limit": "limit",
    "prior_temperature": "temperature",
    "prior_top_p": "top_p",
    "likeness": "likeness",
    "embedding_weight": "weight",
}
"""A painter's names of the prior's settings, and the fields of `PriorSampling`."""
OF_DIFFUSION = ("prior_sampler", "prior_steps", "prior_limit")
"""Those that a diffusion prior alone reads."""
OF_TOKENS = ("prior_temperature", "prior_top_p", "likeness")
"""Those that an autoregressive prior alone reads."""


@dataclass(frozen=True, slots=True)
class UnclipSampling(SamplingConfig):
    """All settings; see `SamplingConfig` for the decoder's and `PriorSampling` for the prior's."""

    text: bool = True  # whether the decoder is conditioned on the caption besides the embedding
    prior: str = ""  # which prior; "none": the caption's own embedding in place of the picture's
    tries: Tries = 2
    prior_guidance: NotNegative = 1.0
    prior_sampler: str = "dpm++2m-sde"
    prior_steps: Steps = 25
    prior_limit: Positive = 5.0
    prior_temperature: NotNegative = 1.0
    prior_top_p: Share = 1.0
    likeness: Share = 0.5
    embedding_weight: Share = 1.0

    def __post_init__(self) -> None:
        SamplingConfig.__post_init__(self)
        check_from_noise(self.prior_sampler)


def prior_sampling(settings: Mapping[str, Any]) -> PriorSampling:
    """The prior's part of a painter's settings."""
    return PriorSampling(**{field: settings[name] for name, field in PRIOR_SETTINGS.items()})
