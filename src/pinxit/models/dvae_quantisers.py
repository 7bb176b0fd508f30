"""Three ways from the encoder's map to discrete codes, behind one interface.

`Gumbel`: DALL-E (arXiv 2102.12092) section 2.1. `VectorQuantiser`: VQ-VAE (arXiv 1711.00937) section 3.2, with
running-mean codebook as in its appendix A.1. `FiniteScalar`: FSQ (arXiv 2309.15505) section 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.functional.codes import (
    codebook_sums,
    fsq_bound,
    fsq_digits,
    fsq_index,
    fsq_vector,
    gumbel_noise,
    gumbel_softmax,
    kl_to_uniform,
    nearest_code,
    straight_through,
)
from pinxit.functional.draws import Draws
from pinxit.models.dvae_blocks import Conv

DEAD, BORN = 0.03, 0.1  # running counts under which a code is replaced, and of its replacement; 1 is the uniform count


@dataclass(frozen=True)
class Quantised:
    """Result of a quantiser in training."""

    vectors: Tensor  # [B, C, h, w] float32: what the decoder's input convolution sees
    codes: Tensor  # int64 [B, h, w]
    kl: Tensor  # [B] nats
    commitment: Tensor  # scalar


class Quantiser(nn.Module, ABC):
    """Interface. `channels` is the width that the encoder must give and the decoder's input convolution takes."""

    channels: int

    @abstractmethod
    def forward(self, z: Tensor, temperature: float, draws: Draws | None) -> Quantised:
        """Relax or round `z` [B, channels, h, w] so that gradients reach the encoder."""

    @abstractmethod
    def nearest(self, z: Tensor) -> Tensor:
        """Codes int64 [B, h, w] of `z`, without noise."""

    @abstractmethod
    def embed(self, codes: Tensor, conv: Conv) -> Tensor:
        """`conv` applied to the vectors of `codes` [B, h, w]."""


class Gumbel(Quantiser):
    """Soft one-hot vectors over all K codes; at inference the argmax."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.channels = codes

    def forward(self, z: Tensor, temperature: float, draws: Draws | None) -> Quantised:
        logits = z.float()
        soft = gumbel_softmax(logits, temperature, draws, dim=1)
        return Quantised(soft, logits.argmax(1), kl_to_uniform(logits, dim=1).sum((1, 2)), logits.new_zeros(()))

    def nearest(self, z: Tensor) -> Tensor:
        return z.argmax(1)

    def embed(self, codes: Tensor, conv: Conv) -> Tensor:
        rows = F.embedding(codes, conv.weight[:, :, 0, 0].t()) + conv.bias
        return rows.permute(0, 3, 1, 2)


class VectorQuantiser(Quantiser):
    """The nearest of K codebook vectors; the codebook follows running means (decay > 0) or gradients (decay 0).

    With decay, a code whose running count falls under `DEAD` of the uniform count restarts at a vector of the batch,
    drawn in proportion to its squared error as k-means++ does, provided that `forward` is given draws. Counts start at
    zero, so that the first batch places all codes in this way.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, dim: int, decay: float, generator: torch.Generator) -> None:
        super().__init__()
        self.channels = dim
        self.decay = decay
        start = (0.1 * torch.randn(codes, dim, generator=generator, device="cpu")).to(torch.empty(0).device)
        if decay:
            self.register_buffer("codebook", start)
            self.register_buffer("counts", torch.zeros(codes))
            self.register_buffer("sums", torch.zeros(codes, dim))
        else:
            self.codebook = nn.Parameter(start)

    def forward(self, z: Tensor, temperature: float, draws: Draws | None) -> Quantised:
        B, _, h, w = z.shape
        flat = z.float().permute(0, 2, 3, 1).reshape(-1, self.channels)
        codes = nearest_code(flat.detach(), self.codebook.detach())
        # The buffers change in place below, so the loss must not hold on to them.
        chosen = F.embedding(codes, self.codebook.clone() if self.decay else self.codebook)
        commitment = 0.25 * F.mse_loss(flat, chosen.detach())
        if not self.decay:
            commitment = commitment + F.mse_loss(chosen, flat.detach())
        elif self.training:
            self._follow(flat.detach(), codes)
            self._restart(flat.detach(), (flat - chosen).detach().square().sum(1).view(B, h, w), draws)
        vectors = straight_through(flat, chosen).view(B, h, w, -1).permute(0, 3, 1, 2)
        return Quantised(vectors, codes.view(B, h, w), vectors.new_zeros(B), commitment)

    def nearest(self, z: Tensor) -> Tensor:
        flat = z.float().permute(0, 2, 3, 1)
        return nearest_code(flat.reshape(-1, self.channels), self.codebook).view(flat.shape[:-1])

    def vectors(self, codes: Tensor) -> Tensor:
        """Codebook vectors [B, channels, h, w] of `codes` [B, h, w]."""
        return F.embedding(codes, self.codebook).permute(0, 3, 1, 2)

    def embed(self, codes: Tensor, conv: Conv) -> Tensor:
        out: Tensor = conv(self.vectors(codes))
        return out

    @torch.no_grad()
    def _follow(self, flat: Tensor, codes: Tensor) -> None:
        counts, sums = codebook_sums(flat, codes, len(self.codebook))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        used = self.counts > 1e-6
        self.codebook.copy_(torch.where(used[:, None], self.sums / self.counts.clamp(min=1e-6)[:, None], self.codebook))

    @torch.no_grad()
    def _restart(self, flat: Tensor, errors_Bhw: Tensor, draws: Draws | None) -> None:
        share = len(flat) / len(self.codebook)
        dead = (self.counts < DEAD * share).nonzero()[: len(flat), 0]
        if draws is None or not len(dead):
            return
        weights = (errors_Bhw + 1e-9).log()  # the largest with Gumbel noise are draws without replacement
        fresh = flat[(weights + gumbel_noise(weights, draws)).flatten().topk(len(dead)).indices]
        self.codebook[dead] = fresh
        self.counts[dead] = BORN * share
        self.sums[dead] = fresh * (BORN * share)


class FiniteScalar(Quantiser):
    """Each of a few channels rounded to a handful of levels; the code is the mixed-radix number of the levels."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = levels
        self.channels = len(levels)

    def forward(self, z: Tensor, temperature: float, draws: Draws | None) -> Quantised:
        bounded = fsq_bound(z.float(), self.levels)
        rounded = bounded.detach().round()
        codes = fsq_index(rounded, self.levels)
        vectors = fsq_vector(straight_through(bounded, rounded), self.levels)
        return Quantised(vectors, codes, z.new_zeros(len(z), dtype=torch.float32), z.new_zeros((), dtype=torch.float32))

    def nearest(self, z: Tensor) -> Tensor:
        return fsq_index(fsq_bound(z.float(), self.levels).round(), self.levels)

    def embed(self, codes: Tensor, conv: Conv) -> Tensor:
        out: Tensor = conv(fsq_vector(fsq_digits(codes, self.levels), self.levels))
        return out


def build_quantiser(
    kind: str, codes: int, levels: tuple[int, ...], dim: int, decay: float, generator: torch.Generator
) -> Quantiser:
    """The quantiser named by `DVAEConfig.quantiser`."""
    if kind == "fsq":
        return FiniteScalar(levels)
    if kind == "vq":
        return VectorQuantiser(codes, dim, decay, generator)
    return Gumbel(codes)
