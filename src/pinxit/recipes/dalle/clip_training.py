"""How the CLIP that ranks DALL-E's candidates is trained: partly on dVAE reconstructions, partly on corrupted ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pinxit.functional.corruption import corrupted
from pinxit.functional.draws import Draws
from pinxit.models.dvae import DVAE
from pinxit.recipes.clip.task import GROUP, ClipTraining
from pinxit.recipes.dalle.config import DalleConfig


def ranker(config: DalleConfig, grouped: bool = False) -> ClipTraining:
    """The training of a DALL-E's CLIP, from its config; `grouped`: the bank's pictures come in groups of four."""
    return ClipTraining(
        config.clip,
        config.dvae.size,
        config.seed,
        group=GROUP if grouped else 1,
        piece=config.plans.clip.micro,
        reconstructed=config.noise.reconstructed,
        mirrored=config.noise.mirrored if grouped else 0.0,
    )


class Reconstruct(nn.Module):
    """Pictures as the discrete VAE reconstructs them, on their device; with `corrupt`, corruption augmentation follows.

    What the transformer draws has soft and crumbled outlines, which reconstructions of true pictures do not have.
    """

    def __init__(self, dvae: DVAE, corrupt: bool = False) -> None:
        super().__init__()
        self.dvae, self.corrupt = dvae.eval().requires_grad_(False), corrupt

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        if next(self.dvae.parameters()).device != x.device:
            self.dvae.to(x.device)
        x = self.dvae.reconstruct(x)
        if not self.corrupt:
            return x
        with torch.autocast(x.device.type, enabled=False):
            return corrupted(x.float(), draws)
