"""Training a prior: predicting a picture's embedding from its caption (unCLIP, arXiv 2204.06125, section 2.2).

Shapes: B pairs, L text positions, D text width, E width of CLIP's embeddings, K coordinates, Q buckets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.functional.diffusion import q_sample, target
from pinxit.functional.diffusion_losses import squared_error
from pinxit.functional.vectors import dots
from pinxit.models.prior import TokenPrior, build_prior
from pinxit.recipes.batches import random_integers
from pinxit.recipes.diffusion.conditions import Conditions, texts
from pinxit.recipes.diffusion.losses import halves, spread, weights
from pinxit.recipes.unclip.config import PriorStage
from pinxit.recipes.unclip.space import Space
from pinxit.training.draws import key, row_streams, uniforms
from pinxit.training.initial import network
from pinxit.training.loop import Batch
from pinxit.training.rows import Rows

if TYPE_CHECKING:
    from pinxit.data.embeddings import Embeddings
    from pinxit.data.stream_texts import StreamTexts
    from pinxit.data.stream_vectors import StreamVectors
    from pinxit.data.vectors import Vectors
    from pinxit.text.encoders import TextEncoder
    from pinxit.types import Picture


Kept = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]  # which captions are kept


@dataclass(frozen=True)
class Pairs:
    """CLIP embeddings of pictures and captions, and the captions' encoded tokens: `stored`, or encoded by `reader`."""

    vectors: Vectors | StreamVectors
    space: Space
    reader: TextEncoder
    stored: Embeddings | StreamTexts | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def coordinates(self, rows: Sequence[int]) -> Tensor:
        """The pictures' embeddings in the space's coordinates, [B, K]."""
        return self.space.encode(self.vectors.image_embeddings(rows))

    def conditions(self, rows: Sequence[int], which: Sequence[int]) -> Conditions:
        """Conditions of one caption for each picture: `sequence` [B, L, D], `mask` [B, L], `pooled` [B, E]."""
        if self.stored is not None:
            sequence, mask = self.stored.rows(rows, which)
            read = {"sequence": sequence, "mask": mask}
        else:
            captions = [self.vectors.text(row, k) for row, k in zip(rows, which, strict=True)]
            read = {name: tensor.cpu() for name, tensor in texts(self.reader, captions, len(captions)).items()}
        return read | {"pooled": self.vectors.text_embeddings(rows, which)}

    def with_drops(self, rows: Sequence[int], which: Sequence[int], kept: Kept) -> Conditions:
        """`conditions`, with an empty mask for captions that are not `kept`, which the prior takes for no caption."""
        found = self.conditions(rows, which)
        return found | {"mask": found["mask"] & torch.from_numpy(kept)[:, None]}


class PriorPairs(Protocol):
    """Pictures and captions as a prior's task needs them."""

    @property
    def vectors(self) -> Vectors | StreamVectors: ...

    @property
    def space(self) -> Space: ...

    def __len__(self) -> int: ...

    def coordinates(self, rows: Sequence[int]) -> Tensor:
        """The pictures' embeddings in the space's coordinates, [B, K]."""

    def with_drops(self, rows: Sequence[int], which: Sequence[int], kept: Kept) -> Conditions:
        """Conditions of one caption for each picture, or none: `sequence` [B, L, D], `mask` [B, L], `pooled` [B, E]."""


class PriorTask:
    """The task of either prior. `pairs` may be missing if only costs are estimated."""

    def __init__(self, config: PriorStage, seed: int, pairs: PriorPairs | None = None) -> None:
        self.name, self.config, self.seed, self.pairs = config.name, config, seed, pairs
        self.prior = network(lambda: build_prior(config.network), seed, config.name)

    def modules(self) -> dict[str, nn.Module]:
        return {self.name: self.prior}

    def batch(self, rows: Rows) -> Batch:
        """A random caption of each picture, masked where it is dropped, and the coordinates to be predicted [B, K].

        For an autoregressive prior, `codes` int64 [B, K] and the dot product's bucket `dot` int64 [B] instead.
        """
        assert self.pairs is not None
        pairs = self.pairs
        numbers = pairs.vectors.order(rows, key(self.seed, f"{self.name} order")).tolist()
        drop, chance = uniforms(self.seed, f"{self.name} captions", rows, 2).T
        which = random_integers([pairs.vectors.count(row) for row in numbers], chance).tolist()
        conditions, y = pairs.with_drops(numbers, which, drop >= self.config.drop), pairs.coordinates(numbers)
        batch = dict(conditions)
        if not self.config.network.buckets:
            return batch | {"embedding": y}
        dot = pairs.space.dots(dots(pairs.vectors.image_embeddings(numbers), conditions["pooled"]))
        return batch | {"codes": pairs.space.buckets.quantise(y), "dot": dot}

    def blank(self, size: int) -> Batch:
        """A batch of the right shapes, for estimates."""
        about = self.config.network
        batch: Batch = {name: torch.zeros(size, *shape) for name, shape in about.conditions().items()}
        batch["mask"] = torch.ones(size, about.length, dtype=torch.bool)
        if not about.buckets:
            return batch | {"embedding": torch.zeros(size, about.components)}
        numbers = {"codes": (size, about.components), "dot": (size,)}
        return batch | {name: torch.zeros(shape, dtype=torch.int64) for name, shape in numbers.items()}

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Squared error of the predicted coordinates, or cross-entropy of the components in nats each."""
        conditions = {name: batch[name] for name in self.config.network.conditions()}
        if isinstance(self.prior, TokenPrior):
            logits_BKQ = self.prior(conditions, batch["dot"], batch["codes"])
            nats_BK = F.cross_entropy(logits_BKQ.transpose(1, 2), batch["codes"], reduction="none")
            return nats_BK.mean(), {"first": nats_BK[:, 0].detach().mean()}
        y, about = batch["embedding"], self.config.diffusion
        even_B = spread(self.seed, f"{self.name} times", rows, y.device)
        sigma_B = about.drawn(even_B)
        noise = row_streams(self.seed, f"{self.name} noise", rows, y.device).normal(*y.shape)
        answer = self.prior(q_sample(y, noise, sigma_B), about.time_of(sigma_B), conditions)
        error_B = squared_error(answer, target(about.prediction, y, noise, sigma_B), weights(about, sigma_B))
        return error_B.mean(), halves(error_B, even_B)

    def preview(self) -> Picture | None:
        """None: embeddings cannot be looked at."""
        return None


def first_dots(vectors: Vectors | StreamVectors, rows: Sequence[int]) -> Tensor:
    """The dot product of each picture's embedding with its first caption's, [B]."""
    return dots(vectors.image_embeddings(rows), vectors.text_embeddings(rows, [0] * len(rows)))


def fitted_rows(count: int, most: int) -> list[int]:
    """The pictures that a space is fitted to: at most `most`, evenly spread over all."""
    rows: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    return rows
