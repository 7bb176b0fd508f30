"""What every text encoder shares: padding, batches of fixed shapes, and the fingerprint by which it is recognised.

A text is encoded at the smallest multiple of 8 positions that holds it, in batches of one fixed shape: its vectors
depend on the text alone, neither on other texts nor on `length`. Shapes: B texts, L positions, D width, E pooled width.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from pinxit.errors import CheckpointError, UsageError
from pinxit.models.dtypes import fast_products
from pinxit.models.torch_defaults import torch_defaults
from pinxit.text.spelling import spelled
from pinxit.texts import check_list
from pinxit.types import EncodedText

Precision = Literal["fp32", "bf16"]
LENGTH = 128  # default number of tokens; Imagen's paper does not state one
STEP = 8  # positions


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder is run, whatever its family."""

    length: int | None = None  # L, tokens; None: 128, or the model's limit if that is less
    device: str | torch.device = "cpu"
    precision: Precision = "fp32"  # "bf16": bfloat16 products where native; no fp16, in which T5 overflows
    padded: bool = False  # run at the full length and keep the model's output at pads, as DeepFloyd IF does
    spell: bool = False  # words to be written in a picture are tokenised letter by letter (`spelling.py`)


class FrozenEncoder(ABC):
    """A text encoder used without gradients; subclasses implement `ids`, `unknown_words` and `run`."""

    def __init__(
        self,
        name: str,
        width: int,  # D
        pooled_width: int,  # E
        positions: int | None,  # most tokens that the model can read; None: no limit
        pad: int,  # id that rows are padded with
        identify: Callable[[], str],  # hex digits that change with any weight
        running: EncoderOptions,
    ) -> None:
        length = running.length
        if length is not None and not 1 < length <= (positions or length):
            most = f" and at most {positions}" if positions else ""
            raise UsageError(f"{name} reads at least 2{most} tokens: a text length of {length} is impossible.")
        self.name, self.width, self.pooled_width = name, width, pooled_width
        self.length = length or min(LENGTH, positions or LENGTH)
        self.positions, self.pad, self.padded = positions, pad, running.padded
        self.device, self.precision = torch.device(running.device), running.precision
        self.autocast = running.precision == "bf16"
        self.spell = running.spell
        self._identify = identify

    @abstractmethod
    def ids(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        """Token ids of each text with the family's special tokens, cut to at most `limit` in all (None: uncut)."""

    @abstractmethod
    def unknown_words(self, text: str) -> list[str]:
        """Words of `text` that it does not know, each once, in order; Chinese is looked up by character."""

    @abstractmethod
    def run(self, ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, L, D] and pooled vectors [B, E] of ids int64 [B, L]; mask bool, True at real tokens."""

    def runs(self, running: EncoderOptions) -> bool:
        """Whether it runs with these options."""
        length = running.length or min(LENGTH, self.positions or LENGTH)
        expected = (length, torch.device(running.device), running.precision, running.padded, running.spell)
        return (self.length, self.device, self.precision, self.padded, self.spell) == expected

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any weight, token or way of pooling; not with length or precision."""
        read = f"{self.model_fingerprint} spelled".encode()
        return hashlib.blake2b(read, digest_size=8).hexdigest() if self.spell else self.model_fingerprint

    @cached_property
    def model_fingerprint(self) -> str:
        """The same however its texts are spelled."""
        return self._identify()

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text after cutting, specials counted."""
        return [len(row) for row in self._ids(texts, self.length)]

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of `text` are cut off because it is too long; 0 for a text that fits."""
        return max(0, len(self._ids([text], None)[0]) - self.length)

    @torch_defaults()
    def encode(self, texts: Sequence[str], batch: int = 1) -> EncodedText:
        """float32 sequence [B, L, D] (zeros after each text), pooled [B, E] and mask [B, L], on the encoder's device.

        `batch` texts run at once: more are faster on a GPU, and may change the last bits of the result.
        """
        ids = self._ids(texts, self.length)
        rows, pooled = self._states(ids, batch)
        sequence = torch.zeros(len(ids), self.length, self.width, device=self.device)
        mask = torch.zeros(len(ids), self.length, dtype=torch.bool, device=self.device)
        for place, row in enumerate(rows):
            sequence[place, : len(row)] = row
            mask[place, : len(ids[place])] = True
        return EncodedText(sequence, pooled, mask)

    def null(self) -> EncodedText:
        """The empty text encoded, B = 1: its special tokens alone."""
        return self.encode([""])

    @torch_defaults()
    def ragged(self, texts: Sequence[str], batch: int = 1) -> tuple[list[Tensor], Tensor]:
        """A float32 tensor [n, D] for each text of n tokens (of L when `padded`), and the pooled vectors [B, E]."""
        return self._states(self._ids(texts, self.length), batch)

    def _ids(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        check_list(texts, "texts")
        return self.ids([spelled(text) for text in texts] if self.spell else texts, limit)

    @torch.no_grad()
    def _states(self, ids: Sequence[Sequence[int]], batch: int) -> tuple[list[Tensor], Tensor]:
        rows = [torch.empty(0)] * len(ids)
        pooled = torch.empty(len(ids), self.pooled_width, device=self.device)
        for width, places in self._widths(ids).items():
            for start in range(0, len(places), batch):
                part = places[start : start + batch]
                states, pooled[part] = self._run_fixed([ids[place] for place in part], width, batch)
                for place, state in zip(part, states, strict=True):
                    rows[place] = state[: self.length if self.padded else len(ids[place])].clone()
        return rows, pooled

    def _widths(self, ids: Sequence[Sequence[int]]) -> dict[int, list[int]]:
        """Indices of the texts by the number of positions at which they run."""
        by_width: dict[int, list[int]] = defaultdict(list)
        for place, row in enumerate(ids):
            if not row:
                raise CheckpointError(f"{self.name}: its tokenizer gives an empty text no token, not even an end.")
            width = self.length if self.padded else -(-len(row) // STEP) * STEP
            by_width[min(width, self.positions or width)].append(place)
        return by_width

    def _run_fixed(self, ids: Sequence[Sequence[int]], width: int, batch: int) -> tuple[Tensor, Tensor]:
        """`run` at exactly [batch, width], padded with copies of the first text; the results of the given ones."""
        ids_BL = torch.full((batch, width), self.pad, dtype=torch.int64)
        mask_BL = torch.zeros(batch, width, dtype=torch.bool)
        for place in range(batch):
            row = ids[place] if place < len(ids) else ids[0]
            ids_BL[place, : len(row)] = torch.tensor(row)
            mask_BL[place, : len(row)] = True
        with fast_products(self.device, self.autocast):
            states, pooled = self.run(ids_BL.to(self.device), mask_BL.to(self.device))
        return states[: len(ids)].float(), pooled[: len(ids)].float()
