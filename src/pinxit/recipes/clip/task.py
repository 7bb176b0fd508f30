"""Training CLIP: which sentence belongs to which picture (Radford et al. 2021, section 2.3 and figure 3).

Used by `pinxit train clip` and by DALL-E's last stage. Shapes: B pictures, L text positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.data.bank import Bank
from pinxit.data.order import order_batch
from pinxit.data.transforms import to_tensor
from pinxit.errors import UsageError
from pinxit.functional.draws import RowStreams
from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.recipes.batches import Augment, augmented, pick_caption, random_integers, resized, unit_range
from pinxit.recipes.clip.mirrored import mirrored_pairs
from pinxit.training.draws import key, uniforms
from pinxit.training.initial import network
from pinxit.training.large_batch import gather_rows, in_pieces, sharded_contrastive_loss
from pinxit.training.loop import Batch
from pinxit.training.rows import Rows

if TYPE_CHECKING:
    from pinxit.data.streams import Stream
    from pinxit.text.clip_tokenizer import ClipTokenizer
    from pinxit.text.tokenizers import Tokenizer
    from pinxit.types import Picture

Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
GROUP = 4  # consecutive pictures of a world's bank for CLIP, each differing from the first in one stated fact
SCORED = 256  # held-out pictures encoded together


@dataclass(frozen=True, slots=True)
class ClipTraining:
    """The config of a `ClipTask`, besides its data."""

    clip: CLIPConfig
    size: int  # side in pixels of the training pictures
    seed: int = 0
    group: int = 1  # pictures of the bank that stay together in a batch
    reconstructed: float = 0.0  # share of the pictures that goes through `reconstruct` first
    mirrored: float = 0.0  # share of a batch that is pairs of a scene and its mirror image, of a world's bank
    piece: int = 0  # rows in memory at a time, by gradient caching; 0: all
    augment: Augment = field(default_factory=Augment)
    held_out: int = 0  # pictures at the end of the bank that are scored but never trained on


def number_of(caption: str) -> int:
    """A hash from 0 to 2**63 - 1, the same for equal captions in every batch and on every rank."""
    digest = hashlib.blake2b(caption.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class ClipTask:
    """Contrastive training: which caption belongs to which picture.

    Pictures that CLIP will have to rank show the artefacts of the model that drew them. So a share of the training
    pictures first goes through `reconstruct`, a frozen module from (pictures [B, 3, S, S] in [0, 1], draws) to the same
    shape.
    """

    name = "clip"
    pieces = "one"  # never cut: a part of the batch would have fewer negatives

    def __init__(
        self,
        config: ClipTraining,
        bank: Bank | Stream | None = None,
        tokenizer: Tokenizer | ClipTokenizer | None = None,
        reconstruct: nn.Module | None = None,
    ) -> None:
        self.config, self.tokenizer, self.reconstruct = config, tokenizer, reconstruct
        if bank is not None and len(bank) - config.held_out < config.group:
            raise UsageError(f"of {len(bank)} pictures {config.held_out} are held out (data.held_out): none are left.")
        self.bank = None if bank is None else bank.holding_out(config.held_out)
        self.clip = network(lambda: CLIP(config.clip), config.seed, "clip")
        self.at_once = config.piece

    def modules(self) -> dict[str, nn.Module]:
        return {"clip": self.clip}

    def frozen(self) -> list[nn.Module]:
        """Modules that the loss calls but that are not trained."""
        return [] if self.reconstruct is None else [self.reconstruct]

    def modules_to_compile(self) -> list[nn.Module]:
        return [self.clip.visual, self.clip.text]

    @contextmanager
    def caching(self, rows: int) -> Iterator[None]:
        """Inside the context, the activations of `rows` rows are in memory at a time (0: of all)."""
        before, self.at_once = self.at_once, rows
        try:
            yield
        finally:
            self.at_once = before

    def after_step(self) -> None:
        """The temperature stays above 1/100 (section 2.5)."""
        self.clip.clamp_()

    def can_fork(self) -> bool:
        return isinstance(self.bank, Bank)

    def batch(self, rows: Rows) -> Batch:
        """Pictures uint8 [B, S, S, 3], ids int64 [B, L], and the hash of each caption, int64 [B]."""
        assert self.bank is not None and self.tokenizer is not None
        seed, chosen = self.config.seed, self._rows(rows)
        chance = uniforms(seed, "clip captions", rows)[:, 0].tolist()
        captions = [
            pick_caption(self.bank.captions[row], one) for row, one in zip(chosen.tolist(), chance, strict=True)
        ]
        ids = self.tokenizer.encode_clip(captions, self.config.clip.text.tokens)
        same = np.array([number_of(caption) for caption in captions], dtype=np.int64)
        chances = uniforms(seed, "clip augment", rows, 3)
        pictures = augmented(resized(self.bank.pictures[chosen], self.config.size), self.config.augment, chances)
        parts = {"pictures": pictures, "ids": ids, "same": same}
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in parts.items()}

    def blank(self, size: int) -> Batch:
        """A batch of the right shapes, to estimate costs."""
        side, text = self.config.size, self.config.clip.text
        pictures = torch.zeros(size, side, side, 3, dtype=torch.uint8)
        return {"pictures": pictures, "ids": torch.full((size, text.tokens), text.eot), "same": torch.arange(size)}

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The symmetric loss (figure 3); equal captions are equally right for each other's pictures."""
        x = unit_range(batch["pictures"])
        if self.reconstruct is not None and self.config.reconstructed:
            x = self._with_reconstructed(x, rows)
        x, piece = self._at_side(x), self.at_once
        image = in_pieces(self.clip.encode_image, x, piece).float()
        text = in_pieces(self.clip.encode_text, batch["ids"], piece).float()
        scale = self.clip.scale()
        loss = sharded_contrastive_loss(image, text, scale, batch["same"])
        with torch.no_grad():
            best = (image @ gather_rows(text).T).argmax(1)
            right = (gather_rows(batch["same"])[best] == batch["same"]).float().mean()
        return loss, {"right": right, "scale": scale.detach()}

    def scores(self) -> dict[str, float]:
        """Zero-shot accuracy on the held-out pictures: each one's first caption among all their first captions."""
        if not self.config.held_out or self.bank is None or self.tokenizer is None:
            return {}
        device = next(self.clip.parameters()).device
        rows = np.arange(len(self.bank) - self.config.held_out, len(self.bank))
        captions = [self.bank.captions[row][0] for row in rows.tolist()]
        different = sorted(set(captions))
        ids = torch.from_numpy(self.tokenizer.encode_clip(different, self.config.clip.text.tokens))
        texts = torch.cat([self.clip.encode_text(part.to(device)).float() for part in torch.split(ids, SCORED)])
        right = 0
        for start in range(0, len(rows), SCORED):
            x = to_tensor(resized(self.bank.pictures[rows[start : start + SCORED]], self.config.size)).to(device)
            best = (self.clip.encode_image(self._at_side(x)).float() @ texts.T).argmax(1).tolist()
            right += sum(different[k] == one for k, one in zip(best, captions[start : start + SCORED], strict=True))
        return {"zero_shot": right / len(rows)}

    def preview(self) -> Picture | None:
        """No preview: the log has its accuracy."""
        return None

    def _at_side(self, x: Tensor) -> Tensor:
        side = self.config.clip.vision.size
        if x.shape[-1] == side:
            return x
        return F.interpolate(x, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)

    def _rows(self, rows: Rows) -> Places:
        """The bank's rows of this update: the next ones in order and, as `mirrored` says, pairs of mirrored scenes.

        In a random sample such pairs are so rare that who stands left of whom is hardly learned at all.
        """
        assert self.bank is not None
        seed, group, position, size = self.config.seed, self.config.group, rows.first, rows.batch
        if group == 1 and not self.config.mirrored:
            return self.bank.order(rows, key(seed, "clip order"))
        count = len(self.bank) - self.config.held_out
        pairs = min(round(self.config.mirrored * size / (2 * group)), size // (2 * group)) * group
        rest = size - 2 * pairs
        start = position * rest // size // group * group
        ordered = order_batch(start, rest, count, key(seed, "clip order"), group)
        if not pairs:
            return ordered[rows.span]
        chosen = order_batch(position * pairs // size, pairs, len(self._mirrored), key(seed, "clip mirrored"))
        both: Places = np.concatenate([ordered, self._mirrored[chosen].ravel()])
        return both[rows.span]

    @cached_property
    def _mirrored(self) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        assert isinstance(self.bank, Bank), "scenes are drawn into banks"
        return mirrored_pairs(self.bank, len(self.bank) - self.config.held_out, self.config.group)

    def _with_reconstructed(self, x: Tensor, rows: Rows) -> Tensor:
        assert self.reconstruct is not None
        chosen = self.reconstructed(rows)
        keys = [key(self.config.seed, "redraw", position) for position in rows.positions[chosen].tolist()]
        index = torch.from_numpy(chosen).to(x.device)
        with torch.no_grad():
            return x.index_copy(0, index, self.reconstruct(x[index], RowStreams(keys, x.device)).to(x.dtype))

    def reconstructed(self, rows: Rows) -> Places:
        """Which of these rows are reconstructed: a random one in each of as many equal blocks as the update needs."""
        blocks = Rows(rows.first, rows.batch, 0, round(self.config.reconstructed * rows.batch))
        edges = np.arange(blocks.count + 1) * rows.batch // max(1, blocks.count)
        chance = uniforms(self.config.seed, "clip redrawn", blocks)[:, 0]
        chosen: Places = edges[:-1] + random_integers(np.diff(edges).tolist(), chance)
        return chosen[(chosen >= rows.start) & (chosen < rows.start + rows.count)] - rows.start
