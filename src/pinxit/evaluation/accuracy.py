"""Accuracy on labelled pictures, and its loss under a distribution shift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinxit.data.labels import LabelledDataset, label_of

if TYPE_CHECKING:
    from pinxit.types import Picture

Namer = Callable[[Sequence["Picture"]], list[str]]
"""Pictures -> one label each."""

CHUNK = 256  # pictures named together


def accuracy(data: LabelledDataset, count: int, name: Namer, watch: Callable[[int], None] | None = None) -> float:
    """Share of the first `count` pictures that get their own label."""
    right = 0
    for start in range(0, count, CHUNK):
        some = [data[index] for index in range(start, min(start + CHUNK, count))]
        names = name([one.picture for one in some])
        right += sum(predicted == label_of(one) for predicted, one in zip(names, some, strict=True))
        if watch is not None:
            watch(start + len(some))
    return right / count


@dataclass(frozen=True)
class DistributionShift:
    """One model's accuracy on pictures like those it was trained on, and on pictures of another distribution."""

    seen: float
    unseen: float

    @property
    def gap(self) -> float:
        """The accuracy that is lost by the shift."""
        return self.seen - self.unseen


def gap_closed(peer: DistributionShift, model: DistributionShift) -> float | None:
    """The share of the peer's gap that the model closes (Radford et al. 2021, section 3.3): 0 none, 1 all of it.

    None if the peer has no gap.
    """
    return 1 - model.gap / peer.gap if peer.gap > 0 else None
