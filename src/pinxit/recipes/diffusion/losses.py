"""What all diffusion tasks share: how noise levels are drawn, and how errors are weighted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pinxit.data.order import order_batch
from pinxit.functional.diffusion import log_snr_of_sigma
from pinxit.functional.diffusion_losses import as_v, weight_for
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.training.draws import key, uniforms
from pinxit.training.rows import Rows


def weights(about: DiffusionConfig, sigma_B: Tensor) -> Tensor | None:
    """The weight of each sample's squared error, [B]; None: all are 1."""
    if about.weight == "own":
        return None
    log_snr_B = log_snr_of_sigma(sigma_B)
    return weight_for(about.prediction, as_v(log_snr_B), log_snr_B)


def spread(seed: int, purpose: str, rows: Rows, device: torch.device, shuffled: bool = False) -> Tensor:
    """float64 [B] in [0, 1): evenly spaced over the update, with one random offset, which lowers the loss's variance.

    In ascending order (up to wrapping around), or `shuffled`.
    """
    first, places = uniforms(seed, purpose, Rows(rows.first, 1, 0, 1))[0, 0], np.arange(rows.batch)[rows.span]
    if shuffled:
        places = order_batch(rows.start, rows.count, rows.batch, key(seed, purpose, rows.first))
    return torch.from_numpy((first + places / rows.batch) % 1).to(device)


def halves(error_B: Tensor, spread_B: Tensor) -> dict[str, Tensor]:
    """The mean error of the noisier half of the times and of the cleaner half, for the log.

    `spread_B`: what `spread` gave. The mean of those of an update's micro-batches is that of the update, although it is
    cut where the times are in order: each half is divided by the rows that it has in the long run.
    """
    late = spread_B > 0.5
    return {name: 2 * (error_B.detach() * half).mean() for name, half in (("noisy", late), ("clean", ~late))}
