"""The coordinates in which priors and decoder know CLIP's picture embeddings, fitted once on stored ones.

CLIP's embeddings have length one, lie in a narrow cone and vary in few directions: as they come, 256 numbers have a
variance of 0.002, and noise of variance one drowns them. The article multiplies them by 17.2 (arXiv 2204.06125, section
2.2); Karlo takes off their mean and divides by their spread; here their principal components may have unit variance
too. Every network of a recipe and both priors share one space. Shapes: B rows, E embedding, K coordinates, Q buckets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pinxit.errors import UsageError
from pinxit.functional.pca import Buckets, fit_buckets, fit_pca
from pinxit.functional.vectors import unit
from pinxit.schema import Count, Several, Whole, check_fields

Kind = Literal["whitened", "scaled", "standard"]
STILL = 1e-8  # a direction that varies less than this share of the first one's variance has no scale of its own


@dataclass(frozen=True, slots=True)
class SpaceConfig:
    """What shapes a `Space`."""

    embed: Count = 256  # E
    components: Count = 64  # K
    kind: Kind = "whitened"  # components at unit variance each; scaled: at one scale for all; standard: Karlo's, no PCA
    buckets: Whole = 256  # Q of every component, for an autoregressive prior; 0: none
    dots: Whole = 64  # buckets of the dot product of picture and caption, for an autoregressive prior; 0: none
    unit: bool = True  # embeddings have length one; False: they are as CLIP's projection gives them (Karlo)
    fitted: Several = 50_000  # pictures that it is fitted on at most

    def __post_init__(self) -> None:
        check_fields(self, "space")
        if self.components > self.embed:
            raise UsageError(f"space.components must be at most space.embed={self.embed}, not {self.components}.")
        if self.kind == "standard" and self.components != self.embed:
            problem = f"space.kind=standard keeps every number: set space.components={self.embed}"
            raise UsageError(f"{problem}, not {self.components}.")
        for name in ("buckets", "dots"):
            if getattr(self, name) == 1:
                raise UsageError(f"space.{name} must be 0 or at least 2, not 1.")


class Space(nn.Module):
    """Embeddings to coordinates and back: y = gain * basis (z - mean). A module without parameters."""

    mean: Tensor
    basis: Tensor
    gain: Tensor
    edges: Tensor
    centres: Tensor
    dot_edges: Tensor

    def __init__(self, config: SpaceConfig) -> None:
        super().__init__()
        self.config = config
        E, K, Q = config.embed, config.components, config.buckets
        self.register_buffer("mean", torch.zeros(E))
        self.register_buffer("basis", torch.eye(K, E))
        self.register_buffer("gain", torch.ones(K))
        self.register_buffer("edges", torch.zeros(K, max(Q - 1, 0)))
        self.register_buffer("centres", torch.zeros(K, Q))
        self.register_buffer("dot_edges", torch.zeros(1, max(config.dots - 1, 0)))

    @classmethod
    def standard(cls, mean_E: Tensor, spread_E: Tensor) -> Space:
        """That of embeddings as a projection gives them, from which their mean is taken off and their spread divided.

        Karlo's: y = (z - mean) / spread.
        """
        E = len(mean_E)
        space = cls(SpaceConfig(E, E, "standard", buckets=0, dots=0, unit=False))
        space.load_state_dict(space.state_dict() | {"mean": mean_E, "gain": 1 / spread_E})
        return space

    @classmethod
    def fit(cls, config: SpaceConfig, pictures_NE: Tensor, dot_N: Tensor) -> Space:
        """Fitted on embeddings of length one and their dot products with their captions'.

        Raises UsageError where the pictures are too few, or vary in fewer directions than there are to be components.
        """
        space, z = cls(config), pictures_NE.double()
        if config.kind == "standard":
            variance = z.var(0)
            statistics = {"mean": z.mean(0), "basis": torch.eye(config.embed)}
        else:
            pca = fit_pca(z, config.components)
            variance = pca.variance
            statistics = {"mean": pca.mean, "basis": pca.basis}
        moving = int((variance > STILL * variance.max()).sum())
        if moving < config.components:
            problem = f"{len(z)} pictures vary in {moving} directions: set space.components to at most that"
            raise UsageError(f"{problem}, or give more pictures.")
        even = variance.mean().expand_as(variance) if config.kind == "scaled" else variance
        statistics["gain"] = even.rsqrt()
        space.load_state_dict(space.state_dict() | statistics)
        if config.buckets:
            fitted = fit_buckets(space.into(z.float()), config.buckets)
            statistics |= {"edges": fitted.edges, "centres": fitted.centres}
        if config.dots:
            statistics["dot_edges"] = fit_buckets(dot_N[:, None], config.dots).edges
        space.load_state_dict(space.state_dict() | statistics)
        return space

    def into(self, z_BE: Tensor) -> Tensor:
        """Embeddings [..., E] -> coordinates [..., K], of unit variance over the pictures it was fitted on."""
        return (z_BE - self.mean) @ self.basis.T * self.gain

    def back(self, y_BK: Tensor, first: int | None = None) -> Tensor:
        """Coordinates [B, K] -> embeddings [B, E], from the `first` components alone (None: from all).

        Raises UsageError for fewer than none or more than there are.
        """
        kept = self.config.components if first is None else first
        if not 0 <= kept <= self.config.components:
            raise UsageError(f"this space has {self.config.components} components: {first} cannot be kept.")
        z_BE = self.mean + (y_BK / self.gain)[:, :kept] @ self.basis[:kept]
        return unit(z_BE) if self.config.unit else z_BE

    def kept(self, z_NE: Tensor) -> float:
        """The share of embeddings' variance that their coordinates hold."""
        centred = z_NE - self.mean
        left = centred - centred @ self.basis.T @ self.basis
        return 1 - float(left.square().sum() / centred.square().sum())

    @property
    def buckets(self) -> Buckets:
        """Of every coordinate."""
        return Buckets(self.edges, self.centres)

    def dots(self, dot_B: Tensor) -> Tensor:
        """Which bucket of equal mass a dot product of picture and caption falls into, int64 [B]."""
        return Buckets(self.dot_edges, self.dot_edges).quantise(dot_B[:, None])[:, 0]
