"""Stage clip: the two towers that rank the candidates (Radford et al. 2021, section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.data.order import order_batch
from pinxit.functional.contrastive import contrastive_loss
from pinxit.models.clip import CLIP
from pinxit.models.dvae import DVAE
from pinxit.recipes.dalle.presets import DalleConfig
from pinxit.recipes.dalle.train_dvae import fitted, unit_range
from pinxit.training.draws import key, numpy_rng, seeded
from pinxit.training.loop import Batch

if TYPE_CHECKING:
    from pinxit.data.bank import Bank
    from pinxit.text.tokenizers import Tokenizer
    from pinxit.types import Picture

GROUP = 4  # pictures of a world that stand together in its ranking bank, each differing from the first in one told fact


class ClipTask:
    """Tell which caption belongs to which picture.

    `grouped`: the bank's pictures stand in fours that differ in one told fact. A share of the pictures
    (`noise.redrawn`) goes through `dvae` first, since those that CLIP will rank bear its marks.
    """

    name = "clip"

    def __init__(
        self,
        config: DalleConfig,
        bank: Bank | None = None,
        tokenizer: Tokenizer | None = None,
        dvae: DVAE | None = None,
        grouped: bool = False,
    ) -> None:
        self.config, self.bank, self.tokenizer = config, bank, tokenizer
        self.group = GROUP if grouped else 1
        self.dvae = None if dvae is None else dvae.eval().requires_grad_(False)
        self.clip = seeded(lambda: CLIP(config.clip), config.seed, "clip")

    def modules(self) -> dict[str, nn.Module]:
        return {"clip": self.clip}

    def hot(self) -> list[nn.Module]:
        return [self.clip.visual, self.clip.text]

    def after_step(self) -> None:
        """The temperature stays above 1/100 (section 2.5)."""
        self.clip.clamp_()

    def batch(self, position: int, size: int) -> Batch:
        """Pictures uint8 [B, S, S, 3], ids int64 [B, L], and a number for each different caption, int64 [B]."""
        assert self.bank is not None and self.tokenizer is not None
        seed = self.config.seed
        rng = numpy_rng(seed, "clip captions", position)
        rows = order_batch(position, size, len(self.bank), key(seed, "clip order"), self.group)
        captions = [pick(self.bank.captions[row], rng) for row in rows.tolist()]
        ids = self.tokenizer.encode_clip(captions, self.config.clip.text.tokens)
        same = np.unique(captions, return_inverse=True)[1]
        pictures = fitted(self.bank.pictures[rows], self.config.dvae.size)
        parts = {"pictures": pictures, "ids": ids, "same": same, "redrawn": self._redrawn(size, rng)}
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in parts.items()}

    def blank(self, size: int) -> Batch:
        """A batch of the right shapes, for costs."""
        side, text = self.config.dvae.size, self.config.clip.text
        pictures = torch.zeros(size, side, side, 3, dtype=torch.uint8)
        ids = torch.full((size, text.tokens), text.eot)
        return {"pictures": pictures, "ids": ids, "same": torch.arange(size), "redrawn": torch.arange(0)}

    def loss(self, batch: Batch, position: int) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The symmetric loss (figure 3); pictures with equal captions share the right answer."""
        x = unit_range(batch["pictures"])
        if self.dvae is not None and len(batch["redrawn"]):
            x = x.index_copy(0, batch["redrawn"], self._through_dvae(x[batch["redrawn"]]))
        side = self.config.clip.vision.size
        if x.shape[-1] != side:
            x = F.interpolate(x, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
        image, text, scale = self.clip(x, batch["ids"])
        loss = contrastive_loss(image.float(), text.float(), scale, batch["same"])
        with torch.no_grad():
            best = (image.float() @ text.float().T).argmax(1)
            right = (batch["same"][best] == batch["same"]).float().mean()
        return loss, {"right": right, "scale": scale.detach()}

    def preview(self) -> Picture | None:
        """Nothing to see: its share of right captions stands in the log."""
        return None

    def _redrawn(self, size: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Which rows of the batch go through the dVAE: always as many, so that shapes stay."""
        return np.sort(rng.permutation(size)[: round(self.config.noise.redrawn * size)])

    @torch.no_grad()
    def _through_dvae(self, x: Tensor) -> Tensor:
        assert self.dvae is not None
        return self.dvae.to(x.device).decode_codes(self.dvae.encode_codes(x)).to(x.dtype)


def pick(captions: Sequence[str], rng: np.random.Generator) -> str:
    """One of a picture's captions."""
    return captions[int(rng.integers(len(captions)))]
