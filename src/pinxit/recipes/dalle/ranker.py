"""DALL-E's ranker as CLIP's task sees it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pinxit.models.dvae import DVAE
from pinxit.recipes.clip.task import GROUP, ClipTraining
from pinxit.recipes.dalle.presets import DalleConfig


def ranker(config: DalleConfig, grouped: bool = False) -> ClipTraining:
    """What of a DALL-E's config its CLIP is trained by; `grouped`: the bank's pictures stand in fours."""
    return ClipTraining(
        config.clip,
        config.dvae.size,
        config.seed,
        group=GROUP if grouped else 1,
        redrawn=config.noise.redrawn,
    )


def through(dvae: DVAE) -> Callable[[Tensor], Tensor]:
    """Pictures as the discrete VAE draws them again, on whatever device they are."""
    dvae.eval().requires_grad_(False)

    def redraw(x: Tensor) -> Tensor:
        return dvae.to(x.device).decode_codes(dvae.encode_codes(x))

    return redraw
