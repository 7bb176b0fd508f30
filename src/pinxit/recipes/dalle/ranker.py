"""DALL-E's ranker as CLIP's task sees it."""

from __future__ import annotations

from torch import Tensor, nn

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


class Redraw(nn.Module):
    """Pictures as the discrete VAE draws them again, on whatever device they are."""

    def __init__(self, dvae: DVAE) -> None:
        super().__init__()
        self.dvae = dvae.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if next(self.dvae.parameters()).device != x.device:
            self.dvae.to(x.device)
        return self.dvae.redraw(x)
