"""The discrete VAE: a picture as a small grid of codes, and back.

DALL-E (Ramesh et al. 2021, arXiv 2102.12092), section 2.1 and appendix A. At the default config the
networks are the paper's to the parameter; small presets put a space-to-depth stem (`patch`) in front, so
that their convolutions run on 16 x 16 maps instead of 64 x 64 ones, and may use another quantiser.

Shapes: B batch, H W pixels, h w = H/downscale W/downscale code rows and columns, K codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.functional.draws import Draws
from pinxit.functional.laplace import Likelihood, phi, unphi
from pinxit.models.dvae_blocks import Decoder, Encoder
from pinxit.models.dvae_quantisers import Quantiser, VectorQuantiser, build_quantiser
from pinxit.schema import Count, Decay, Depth, Finite, Several, check_fields


@dataclass(frozen=True)
class DVAEConfig:
    """Everything that shapes a `DVAE`; the defaults are the paper's."""

    size: Count = 256  # pixels along one side of the (square) picture
    channels: Count = 256  # width of the widest map; group g of the encoder has channels * 2**g
    n_init: Count = 128  # width of the decoder's input convolution, i.e. of a code's vector
    groups: Depth = 4  # stages; the map halves between two of them
    blocks: Depth = 2  # residual blocks per group of the encoder
    decoder_blocks: Depth | None = None  # residual blocks per group of the decoder; None: as many as the encoder
    gain: Finite | None = None  # of the residual branches; None: 1 / n_layers^2, as in the paper
    patch: Count = 1  # space-to-depth factor in front of the encoder and behind the decoder
    codes: Several = 8192  # K, size of the vocabulary
    quantiser: Literal["gumbel", "vq", "fsq"] = "gumbel"
    levels: tuple[Several, ...] = ()  # fsq: levels per dimension; their product is `codes`
    code_dim: Count = 32  # vq: width of a codebook vector
    codebook_decay: Decay = 0.99  # vq: decay of the codebook's running means; 0 learns it by gradient instead
    shortcut: bool = False  # vq: codes are patches of the picture, to which encoder and decoder only add
    likelihood: Likelihood = "laplace"  # normal: of scale 1 in the logit, ln b unused; learns faster
    ln_b_floor: Finite | None = None  # softly keeps ln b above this; None: unbounded, as in the paper

    def __post_init__(self) -> None:
        check_fields(self, "dvae")
        if self.channels % 4:
            raise UsageError(f"dvae.channels must be a multiple of 4, not {self.channels}.")
        if self.size % self.downscale:
            raise UsageError(f"dvae.size {self.size} must be a multiple of {self.downscale} (patch * 2**(groups-1)).")
        if self.shortcut and (self.quantiser != "vq" or self.code_dim != 3 * self.downscale**2):
            raise UsageError(
                f"dvae.shortcut needs quantiser vq and code_dim {3 * self.downscale**2}, a patch's values."
            )
        if self.quantiser == "fsq" and (min(self.levels, default=0) < 2 or prod(self.levels) != self.codes):
            raise UsageError(f"dvae.levels {self.levels} must each be at least 2 and multiply to codes, {self.codes}.")

    def gain_of(self, blocks: int) -> float:
        """What residual branches are multiplied by in a network of `blocks` blocks per group (appendix A.1)."""
        return (self.groups * blocks) ** -2 if self.gain is None else self.gain

    @property
    def downscale(self) -> int:
        """Pixels per code along one side."""
        return self.patch << (self.groups - 1)


@dataclass(frozen=True)
class DVAEOutput:
    """What `DVAE.forward` returns; the reconstruction is `unphi(sigmoid(mu))`."""

    mu: Tensor  # [B, 3, H, W] float32, location of the logit-Laplace of phi(pixel)
    ln_b: Tensor  # [B, 3, H, W] float32, log of its scale
    kl: Tensor  # [B] nats, KL to the uniform prior summed over the positions; zero unless gumbel
    codes: Tensor  # int64 [B, h, w]
    commitment: Tensor  # scalar, the vq loss already weighted; zero unless vq


class DVAE(nn.Module):
    """Encoder, quantiser and decoder. Initial weights depend on `config` and `seed` alone."""

    def __init__(self, config: DVAEConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        self.quantiser: Quantiser = build_quantiser(
            config.quantiser, config.codes, config.levels, config.code_dim, config.codebook_decay, generator
        )
        width = self.quantiser.channels
        shared = (config.groups, config.blocks, config.patch)
        self.encoder = Encoder(config.channels, *shared, config.gain_of(config.blocks), width, generator)
        blocks = config.decoder_blocks or config.blocks
        shared = (config.groups, blocks, config.patch)
        self.decoder = Decoder(config.channels, *shared, config.gain_of(blocks), width, config.n_init, generator)
        if config.shortcut and not self.encoder.output.weight.is_meta:
            self.encoder.output.weight.data.zero_()  # codes start as plain patches
            self.decoder.output.weight.data.mul_(0.1)

    @property
    def grid(self) -> int:
        """Codes along one side of a picture of `config.size`."""
        return self.config.size // self.config.downscale

    def forward(self, pictures: Tensor, temperature: float, draws: Draws | None = None) -> DVAEOutput:
        """Reconstruct `pictures` [B, 3, H, W] in [0, 1] through relaxed codes.

        `temperature` (> 0) matters to gumbel alone, whose relaxation has no noise without `draws`; for vq
        they let dead codes restart at vectors of this batch while training.
        """
        quantised = self.quantiser(self._encoded(pictures), temperature, draws)
        mu, ln_b = self._moments(self.decoder(self.decoder.input(quantised.vectors)))
        if self.config.shortcut:
            mu = mu + F.pixel_shuffle(quantised.vectors, self.config.downscale)
        return DVAEOutput(mu, ln_b, quantised.kl, quantised.codes, quantised.commitment)

    @torch.no_grad()
    def encode_codes(self, pictures: Tensor) -> Tensor:
        """Codes int64 [B, h, w] of `pictures` float [B, 3, H, W] in [0, 1]: the likeliest, without noise.

        Raises UsageError unless H and W are multiples of the downscale.
        """
        return self.quantiser.nearest(self._encoded(pictures))

    @torch.no_grad()
    def decode_codes(self, codes: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1] of `codes` int64 [B, h, w]. Raises UsageError for a code outside 0..K-1."""
        if codes.ndim != 3 or codes.dtype != torch.int64:
            raise UsageError(f"codes must be int64 [B, h, w], not {codes.dtype} {tuple(codes.shape)}.")
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codes:
            raise UsageError(f"codes must lie in 0..{self.config.codes - 1}, not {codes.min()}..{codes.max()}.")
        return self.decoded(codes)

    @torch.no_grad()
    def reconstruct(self, pictures: Tensor) -> Tensor:
        """`pictures` [B, 3, H, W] in [0, 1] encoded and decoded again; codes are not checked, which would sync a GPU.

        Raises UsageError unless H and W are multiples of the downscale.
        """
        return self.decoded(self.encode_codes(pictures))

    @torch.no_grad()
    def code_vectors(self) -> Tensor:
        """What the decoder sees of each code, float32 [K, n_init]: codes that look alike lie near each other."""
        every = torch.arange(self.config.codes, device=self.decoder.input.weight.device).view(1, 1, -1)
        return self.quantiser.embed(every, self.decoder.input)[0, :, 0].t().float().contiguous()

    def _encoded(self, pictures: Tensor) -> Tensor:
        y = phi(self._checked(pictures))
        z: Tensor = self.encoder(y)
        return z + F.pixel_unshuffle(torch.logit(y), self.config.downscale) if self.config.shortcut else z

    def decoded(self, codes: Tensor) -> Tensor:
        """`decode_codes` without its checks."""
        mu, _ = self._moments(self.decoder(self.quantiser.embed(codes, self.decoder.input)))
        if isinstance(self.quantiser, VectorQuantiser) and self.config.shortcut:
            mu = mu + F.pixel_shuffle(self.quantiser.vectors(codes), self.config.downscale)
        return unphi(torch.sigmoid(mu))

    def _moments(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        mu, ln_b = statistics.float().chunk(2, dim=1)
        floor = self.config.ln_b_floor
        return mu, ln_b if floor is None else floor + F.softplus(ln_b - floor)

    def _checked(self, pictures: Tensor) -> Tensor:
        step = self.config.downscale
        if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] % step or pictures.shape[3] % step:
            raise UsageError(
                f"pictures must be [B, 3, H, W] with sides a multiple of {step}, not {list(pictures.shape)}."
            )
        return pictures
