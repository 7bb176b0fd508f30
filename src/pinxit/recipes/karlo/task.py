"""The training tasks of Karlo's networks, conditioned on CLIP's projected embeddings (see `embedder`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pinxit.recipes.batches import random_integers
from pinxit.recipes.diffusion.conditions import Conditions, Noising
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.diffusion.task import DiffusionTask
from pinxit.training.draws import uniforms
from pinxit.weights.karlo import DECODER, SUPERS

if TYPE_CHECKING:
    from pinxit.data.bank import Bank
    from pinxit.data.embeddings import Embeddings
    from pinxit.data.stream_texts import StreamTexts
    from pinxit.data.stream_vectors import StreamVectors
    from pinxit.data.streams import Stream
    from pinxit.data.vectors import Vectors
    from pinxit.recipes.karlo.embedder import KarloEmbedder
    from pinxit.recipes.unclip.space import Space
    from pinxit.recipes.unclip.task import Kept
    from pinxit.training.loop import Batch
    from pinxit.training.rows import Rows


@dataclass(frozen=True)
class KarloPairs:
    """Precomputed embeddings of pictures and captions; a dropped caption becomes the empty one.

    Shapes: B rows, L text positions, D text width, E embedding.
    """

    vectors: Vectors | StreamVectors
    texts: Embeddings | StreamTexts
    space: Space

    def __len__(self) -> int:
        return len(self.vectors)

    def coordinates(self, rows: Sequence[int]) -> Tensor:
        """The pictures' embeddings in the space's coordinates, [B, E]."""
        return self.space.encode(self.vectors.image_embeddings(rows))

    def with_drops(self, rows: Sequence[int], which: Sequence[int], kept: Kept) -> Conditions:
        """`sequence` [B, L, D], `mask` [B, L] and `pooled` [B, E]: caption `which[b]`, or the empty one if not kept."""
        chosen = np.where(kept, np.asarray(which), -1).tolist()
        sequence, mask = self.texts.rows(rows, chosen)
        return {"sequence": sequence, "mask": mask, "pooled": self.vectors.text_embeddings(rows, chosen)}


class DecoderTask(DiffusionTask):
    """Denoise pictures, conditioned on a caption and the picture's own CLIP embedding."""

    def __init__(
        self,
        config: StageConfig,
        seed: int,
        text_shape: tuple[int, int],
        bank: Bank | Stream | None = None,
        embedder: KarloEmbedder | None = None,
        pairs: KarloPairs | None = None,
        drop: float = 0.1,
        drop_image: float = 0.1,
    ) -> None:
        reader, rows = (None if embedder is None else embedder.reader), None if pairs is None else pairs.coordinates
        super().__init__(DECODER, config, seed, text_shape, bank, reader, drop, image_rows=rows, drop_image=drop_image)
        self.embedder, self.pairs = embedder, pairs

    def blank(self, size: int) -> Batch:
        """A batch of zeros of the right shapes, to measure the cost."""
        return super().blank(size) | {"pooled": torch.zeros(size, self.config.unet.pooled)}

    def _text(self, found: Sequence[int], rows: Rows) -> Batch:
        assert self.pairs is not None
        drop, chance = uniforms(self.seed, f"{self.name} captions", rows, 2).T
        which = random_integers([self.pairs.vectors.count(row) for row in found], chance).tolist()
        return dict(self.pairs.with_drops(found, which, drop >= self.drop))

    def _image(self, found: Sequence[int], rows: Rows) -> Batch:
        assert self.embedder is not None
        kept = torch.from_numpy(uniforms(self.seed, f"{self.name} image", rows) >= self.drop_image)
        return {"image": torch.where(kept, self._embeddings(found), self.embedder.without.cpu())}

    def _read(self, captions: Sequence[str]) -> Batch:
        assert self.reader is not None
        read = self.reader.encode(captions, len(captions))
        return {"sequence": read.sequence.cpu(), "mask": read.mask.cpu(), "pooled": read.pooled.cpu()}

    def _understood(self, batch: Batch) -> Batch:
        return {name: batch[name] for name in ("sequence", "mask", "pooled")}


class SuperTask(DiffusionTask):
    """Super-resolution: the first network learns all steps of the diffusion but the last, the second only the last."""

    def __init__(self, name: str, config: StageConfig, seed: int, bank: Bank | Stream | None = None) -> None:
        super().__init__(name, config, seed, (1, 1), bank)
        self.noising = Noising(way="bicubic")
        step = 1 / config.diffusion.steps
        self.span = (step, 1.0) if name == SUPERS[0] else (0.0, step)
