"""DALL-E's ranker as CLIP's task sees it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pinxit.functional.degrade import worn
from pinxit.functional.draws import Draws
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
        piece=config.plans.clip.micro,
        redrawn=config.noise.redrawn,
        mirrored=config.noise.mirrored if grouped else 0.0,
    )


class Redraw(nn.Module):
    """Pictures as the discrete VAE draws them again, on whatever device they are; with `wear`, worn besides.

    What the transformer draws has soft and crumbled outlines that no true picture's codes give.
    """

    def __init__(self, dvae: DVAE, wear: bool = False) -> None:
        super().__init__()
        self.dvae, self.wear = dvae.eval().requires_grad_(False), wear

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        if next(self.dvae.parameters()).device != x.device:
            self.dvae.to(x.device)
        x = self.dvae.redraw(x)
        if not self.wear:
            return x
        with torch.autocast(x.device.type, enabled=False):
            return worn(x.float(), draws)
