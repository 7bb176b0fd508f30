"""Coordinates of CLIP image embeddings for priors and decoder: PCA and whitening, fitted once on stored embeddings.

CLIP embeddings have length one, lie in a narrow cone and vary in few directions: each of 256 numbers has a variance of
0.002, which noise of unit variance drowns. The paper multiplies them by 17.2 (arXiv 2204.06125, section 2.2), Karlo
standardises them, and here their principal components can be whitened. Both priors and the decoder of a run share one
space. Shapes: B rows, E embedding, K coordinates, Q buckets.
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
from pinxit.texts import counted

Kind = Literal["whitened", "scaled", "standard"]
MIN_VARIANCE = (
    1e-8  # of a direction, relative to the largest: below it there is only rounding noise, which cannot be scaled to 1
)


@dataclass(frozen=True, slots=True)
class SpaceConfig:
    """What shapes a `Space`."""

    embed: Count = 256  # E
    components: Count = 64  # K
    kind: Kind = "whitened"  # each component to unit variance; scaled: one scale for all; standard: Karlo's, no PCA
    buckets: Whole = 256  # Q, for an autoregressive prior; 0: none
    dots: Whole = 64  # buckets of the dot product with the caption, for an autoregressive prior; 0: none
    unit: bool = True  # embeddings are normalised; False: as CLIP's projection gives them (Karlo)
    fitted: Several = 50_000  # at most so many pictures are used for fitting

    def __post_init__(self) -> None:
        check_fields(self, "space")
        if self.components > self.embed:
            raise UsageError(f"space.components must be at most space.embed={self.embed}, not {self.components}.")
        if self.kind == "standard" and self.components != self.embed:
            problem = f"space.kind=standard has no PCA: set space.components={self.embed}"
            raise UsageError(f"{problem}, not {self.components}.")
        for name in ("buckets", "dots"):
            if getattr(self, name) == 1:
                raise UsageError(f"space.{name} must be 0 or at least 2, not 1.")


class Space(nn.Module):
    """An affine map from embeddings to coordinates: y = gain * basis (z - mean). It has only buffers."""

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
    def standard(cls, mean_E: Tensor, std_E: Tensor) -> Space:
        """Karlo's, for embeddings that are not normalised: y = (z - mean) / std."""
        E = len(mean_E)
        space = cls(SpaceConfig(E, E, "standard", buckets=0, dots=0, unit=False))
        space.load_state_dict(space.state_dict() | {"mean": mean_E, "gain": 1 / std_E})
        return space

    @classmethod
    def fit(cls, config: SpaceConfig, pictures_NE: Tensor, dot_N: Tensor) -> Space:
        """Fit to normalised embeddings and their dot products with their captions' embeddings.

        Raises UsageError if there are too few pictures, or they vary in fewer directions than `components`.
        """
        space, z = cls(config), pictures_NE.double()
        if config.kind == "standard":
            variance = z.var(0)
            statistics = {"mean": z.mean(0), "basis": torch.eye(config.embed)}
        else:
            pca = fit_pca(z, config.components)
            variance = pca.variance
            statistics = {"mean": pca.mean, "basis": pca.basis}
        directions = int((variance > MIN_VARIANCE * variance.max()).sum())
        if directions < config.components:
            problem = (
                f"{len(z)} pictures vary in {counted(directions, 'direction')}: set space.components to at most that"
            )
            raise UsageError(f"{problem}, or give more pictures.")
        even = variance.mean().expand_as(variance) if config.kind == "scaled" else variance
        statistics["gain"] = even.rsqrt()
        space.load_state_dict(space.state_dict() | statistics)
        if config.buckets:
            fitted = fit_buckets(space.encode(z.float()), config.buckets)
            statistics |= {"edges": fitted.edges, "centres": fitted.centres}
        if config.dots:
            statistics["dot_edges"] = fit_buckets(dot_N[:, None], config.dots).edges
        space.load_state_dict(space.state_dict() | statistics)
        return space

    def encode(self, z_BE: Tensor) -> Tensor:
        """Embeddings [..., E] -> coordinates [..., K], of unit variance over the pictures of the fit."""
        return (z_BE - self.mean) @ self.basis.T * self.gain

    def decode(self, y_BK: Tensor, first: int | None = None) -> Tensor:
        """Coordinates [B, K] -> embeddings [B, E], from the `first` components (None: from all).

        Raises UsageError for a negative number, and for more than there are.
        """
        kept = self.config.components if first is None else first
        if not 0 <= kept <= self.config.components:
            raise UsageError(f"this space has {counted(self.config.components, 'component')}: {first} cannot be kept.")
        z_BE = self.mean + (y_BK / self.gain)[:, :kept] @ self.basis[:kept]
        return unit(z_BE) if self.config.unit else z_BE

    def explained_variance(self, z_NE: Tensor) -> float:
        """The fraction of the embeddings' variance that the components explain."""
        centred = z_NE - self.mean
        left = centred - centred @ self.basis.T @ self.basis
        return 1 - float(left.square().sum() / centred.square().sum())

    @property
    def buckets(self) -> Buckets:
        """The buckets of every coordinate."""
        return Buckets(self.edges, self.centres)

    def dots(self, dot_B: Tensor) -> Tensor:
        """The bucket, of equal mass, of each dot product of picture and caption, int64 [B]."""
        return Buckets(self.dot_edges, self.dot_edges).quantise(dot_B[:, None])[:, 0]
