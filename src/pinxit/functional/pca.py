"""Principal components of a set of embeddings, and their quantisation into buckets of equal mass.

unCLIP (arXiv 2204.06125), sections 2.2 and 4: CLIP's picture embeddings have low rank, so that a prior which predicts
them token by token needs a third of the tokens. Shapes: N samples, E their width, K components, Q buckets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pinxit.errors import UsageError


@dataclass(frozen=True, slots=True)
class PCA:
    """K orthonormal directions, those of most variance first."""

    mean: Tensor  # [E]
    basis: Tensor  # [K, E], rows of length one; the largest entry by size is positive, which settles the sign
    variance: Tensor  # [K], of the samples along each direction

    def project(self, x: Tensor) -> Tensor:
        """[..., E] -> components [..., K]."""
        return (x - self.mean) @ self.basis.T

    def reconstruct(self, y: Tensor, first: int | None = None) -> Tensor:
        """[..., K] -> [..., E] from the `first` components alone (None: from all).

        Raises UsageError for fewer than none or more than there are.
        """
        kept = len(self.basis) if first is None else first
        if not 0 <= kept <= len(self.basis):
            raise UsageError(f"there are {len(self.basis)} components: {first} cannot be kept.")
        return self.mean + y[..., :kept] @ self.basis[:kept]


def fit_pca(x_NE: Tensor, components: int) -> PCA:
    """The `components` directions of most variance, all float64. Raises UsageError for more than the data can have."""
    x_NE = x_NE.double()
    N, E = x_NE.shape
    if not 1 <= components <= min(N - 1, E):
        raise UsageError(f"{N} embeddings of width {E} have at most {min(N - 1, E)} components, not {components}.")
    mean = x_NE.mean(0)
    centred = x_NE - mean
    variance, directions = torch.linalg.eigh(centred.T @ centred / (N - 1))
    basis = directions.T.flip(0)[:components]
    largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
    return PCA(mean, basis * largest.sign(), variance.flip(0)[:components].clamp(min=0))


@dataclass(frozen=True, slots=True)
class Buckets:
    """A quantiser of K components into Q intervals each. The article does not give the edges; these hold equal mass."""

    edges: Tensor  # [K, Q - 1], ascending
    centres: Tensor  # [K, Q], the value of each bucket: the mean of the samples in it

    def quantise(self, y: Tensor) -> Tensor:
        """[..., K] -> int64 [..., K]; a value on an edge belongs to the bucket above, the end buckets have no bound."""
        columns = y.reshape(-1, len(self.edges)).T.contiguous()
        return torch.searchsorted(self.edges, columns, right=True).T.reshape(y.shape)

    def values(self, codes: Tensor) -> Tensor:
        """int64 [..., K] -> [..., K]."""
        columns = codes.reshape(-1, len(self.centres)).T
        return self.centres.gather(1, columns).T.reshape(codes.shape)


def fit_buckets(y_NK: Tensor, count: int) -> Buckets:
    """Buckets that hold the same share of the samples each, all float64.

    A bucket that is left empty, as there are fewer samples than buckets, gets the middle between its edges. Raises
    UsageError for fewer than two buckets.
    """
    if count < 2:
        raise UsageError(f"numbers are quantised into at least 2 buckets, not {count}.")
    y_NK = y_NK.double()
    ordered = y_NK.sort(0).values
    places = torch.arange(1, count, dtype=torch.float64) / count * (len(y_NK) - 1)
    below = places.long()
    edges = torch.lerp(ordered[below], ordered[(below + 1).clamp(max=len(y_NK) - 1)], (places - below)[:, None]).T
    edges = edges.contiguous()
    codes = Buckets(edges, edges).quantise(y_NK).T
    sums = edges.new_zeros(len(edges), count).scatter_add_(1, codes, y_NK.T)
    held = edges.new_zeros(len(edges), count).scatter_add_(1, codes, torch.ones_like(y_NK.T))
    ends = torch.cat([ordered[:1].T, edges, ordered[-1:].T], 1)
    centres = torch.where(held > 0, sums / held.clamp(min=1), (ends[:, 1:] + ends[:, :-1]) / 2)
    return Buckets(edges, centres)
