"""Pictures with one label each, to train and test classifiers."""

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
        """All labels, in the order of the dataset."""
        ...

    @property
    def templates(self) -> tuple[str, ...]:
        """The sentences of its training captions, with {} in place of the label."""
        ...


def label_of(example: Example) -> str:
    """The label of an example. Raises DataError when it has none."""
    return label_in(example.facts, example.key)


def label_in(facts: object, key: str) -> str:
    """The label in an example's facts, or in those of a bank (`Bank.facts`). Raises DataError naming `key` if none."""
    label = facts.label if isinstance(facts, Labelled) else facts.get("label") if isinstance(facts, dict) else None
    if not isinstance(label, str):
        raise DataError(f"{key} has no label; labelled data are fashion-mnist and drawings:small, :full or :broad.")
    return label
