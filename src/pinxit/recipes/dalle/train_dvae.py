"""Stage dvae: pictures to codes and back (DALL-E section 2.1, appendix A)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from pinxit.data.sheet import sheet
from pinxit.data.transforms import augment_dvae, to_pictures, to_tensor
from pinxit.functional.laplace import dvae_objective, mse
from pinxit.functional.schedules import cosine
from pinxit.models.dvae import DVAE
from pinxit.recipes.batches import resized, unit_range
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.training.draws import key, row_rngs, row_streams
from pinxit.training.initial import network
from pinxit.training.loop import Batch
from pinxit.training.rows import Rows

if TYPE_CHECKING:
    from pinxit.data.bank import Bank
    from pinxit.data.streams import Stream
    from pinxit.types import Picture

SHOWN = 8  # pictures of a preview


class DVAETask:
    """Reconstruct the bank's pictures; `bank` may be None when only costs are estimated."""

    name = "dvae"

    def __init__(self, config: DalleConfig, bank: Bank | Stream | None = None) -> None:
        self.config, self.bank = config, bank
        self.dvae = network(lambda: DVAE(config.dvae, seed=key(config.seed, "dvae") % 2**32), config.seed, "dvae")

    @property
    def pieces(self) -> str:
        """How a batch may be cut into pieces: a codebook of running means is updated after each of them."""
        return "settled" if self.config.dvae.quantiser == "vq" else "alike"

    def modules(self) -> dict[str, nn.Module]:
        return {"dvae": self.dvae}

    def modules_to_compile(self) -> list[nn.Module]:
        return [self.dvae.encoder, self.dvae.decoder]

    def batch(self, rows: Rows) -> Batch:
        """Pictures uint8 [B, S, S, 3]."""
        assert self.bank is not None
        seed = self.config.seed
        order = self.bank.order(rows, key(seed, "dvae order"))
        pictures, side = self.bank.pictures[order], self.config.dvae.size
        if pictures.shape[1] > side:
            rngs = row_rngs(seed, "dvae crops", rows)
            pictures = np.stack([augment_dvae(one, side, rng) for one, rng in zip(pictures, rngs, strict=True)])
        return {"pictures": torch.from_numpy(np.ascontiguousarray(pictures))}

    def blank(self, size: int) -> Batch:
        """A batch of the right shapes, to estimate costs."""
        side = self.config.dvae.size
        return {"pictures": torch.zeros(size, side, side, 3, dtype=torch.uint8)}

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The relaxed objective (appendix A.2 and A.3) with its schedules."""
        noise = self.config.noise
        x = unit_range(batch["pictures"])
        beta = cosine(rows.first, 0.0, noise.kl_weight, noise.kl_images)
        temperature = cosine(rows.first, 1.0, noise.temperature, noise.temperature_images)
        out = self.dvae(x, temperature, row_streams(self.config.seed, "gumbel", rows, x.device))
        loss = dvae_objective(x, out.mu, out.ln_b, out.kl, beta, self.config.dvae.likelihood) + out.commitment
        with torch.no_grad():
            used = torch.zeros(self.config.dvae.codes, device=x.device).index_fill_(0, out.codes.flatten(), 1.0).sum()
            parts = {"mse": mse(x, out.mu), "kl": out.kl.mean(), "codes_used": used, "ln_b": out.ln_b.mean()}
        return loss, parts | {"temperature": temperature, "beta": beta}

    def preview(self) -> Picture | None:
        """Some pictures of the bank, and their reconstructions below them."""
        assert self.bank is not None
        pictures = resized(self.bank.pictures[:SHOWN], self.config.dvae.size)
        x = to_tensor(pictures).to(next(self.dvae.parameters()).device)
        back = to_pictures(self.dvae.decode_codes(self.dvae.encode_codes(x)))
        return sheet([*pictures, *back], columns=len(pictures))
