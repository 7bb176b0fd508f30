"""Pictures with one label each: what classifiers are trained and tested on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pinxit.errors import DataError
from pinxit.types import Dataset, Example


@dataclass(frozen=True, slots=True)
class Labelled:
    """The facts of a labelled picture."""

    label: str


class LabelledDataset(Dataset, Protocol):
    """A dataset whose examples' facts are `Labelled`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label there is, in the data's own order."""
        ...

    @property
    def templates(self) -> tuple[str, ...]:
        """The sentences that its training captions are made of, each with {} for the label."""
        ...


def label_of(example: Example) -> str:
    """The label of an example. Raises DataError when it has none."""
    return label_in(example.facts, example.key)


def label_in(facts: object, key: str) -> str:
    """The label in an example's facts, or in a bank's plain ones (`Bank.facts`); `key` names it in the DataError."""
    label = facts.label if isinstance(facts, Labelled) else facts.get("label") if isinstance(facts, dict) else None
    if not isinstance(label, str):
        raise DataError(f"{key} has no label; labelled data are fashion-mnist and drawings:small, :full or :broad.")
    return label
