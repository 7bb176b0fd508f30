"""Zero-shot classification of pictures by labels (Radford et al. 2021, section 3.1).

Shapes: N pictures, C labels, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pinxit.errors import UsageError
from pinxit.schema import Count, checked, plain_number
from pinxit.texts import check_list, check_text

if TYPE_CHECKING:
    from pinxit.recipes.clip.encoder import ClipEncoder, Vectors
    from pinxit.types import Picture

SENTENCES = 4096  # sentences encoded together


class Guess(NamedTuple):
    """A label and its probability among all labels."""

    label: str
    share: float


class ZeroShot:
    """A classifier made of labels alone: each label's weights are the mean direction of its sentences."""

    def __init__(
        self, encoder: ClipEncoder, labels: Sequence[str], templates: Sequence[str] = ("a photo of a {}.",)
    ) -> None:
        """Raises UsageError for no labels, for an empty or a repeated one, and for one too long for the model."""
        check_list(labels, "labels")
        self.labels = [check_text(label, "a label").strip() for label in labels]
        if not self.labels or not all(self.labels):
            raise UsageError("give at least one label, and no empty one.")
        twice = next((label for label in self.labels if self.labels.count(label) > 1), None)
        if twice is not None:
            raise UsageError(f"the label '{twice}' is given twice.")
        self.encoder = encoder
        self.weights_CE = label_vectors(encoder, self.labels, templates)

    def shares(self, vectors_NE: Vectors) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """The probability of each label for pictures' unit vectors, [N, E] -> [N, C]; rows add up to 1."""
        # Row by row: a matrix product may sum in another order when there are more rows.
        rows = [(self.weights_CE * row).sum(1, dtype=np.float64) for row in vectors_NE]
        logits = self.encoder.scale * np.array(rows).reshape(len(rows), len(self.labels))
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)  # type: ignore[no-any-return]

    def classify(self, pictures: Sequence[Picture], top: int = 5) -> list[list[Guess]]:
        """The `top` likeliest labels of each picture, best first."""
        return self.guesses(self.encoder.pictures(pictures), top)

    def guesses(self, vectors_NE: Vectors, top: int = 5) -> list[list[Guess]]:
        """`classify` for pictures that are already encoded. Raises UsageError for a `top` below 1."""
        top, result = checked(Count, plain_number(top), "top"), []
        for row in self.shares(vectors_NE):
            best = np.argsort(-row, kind="stable")[:top]
            result.append([Guess(self.labels[place], float(row[place])) for place in best])
        return result


def label_vectors(encoder: ClipEncoder, labels: Sequence[str], templates: Sequence[str]) -> Vectors:
    """The mean of the unit vectors of each label's sentences, normalised to length one, [C, E]."""
    at_once = max(1, SENTENCES // len(templates))
    means = []
    for start in range(0, len(labels), at_once):
        part = labels[start : start + at_once]
        sentences = [template.replace("{}", label) for label in part for template in templates]
        means.append(encoder.texts(sentences).reshape(len(part), len(templates), -1).mean(1))
    mean_CE = np.concatenate(means)
    unit_CE: Vectors = mean_CE / np.linalg.norm(mean_CE, axis=1, keepdims=True)
    return unit_CE
