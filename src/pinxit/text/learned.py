"""A text encoder trained from scratch, behind the interface of the frozen ones: `models.text` and our tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pinxit.models.text import TextTransformer
from pinxit.text.frozen import EncoderOptions, FrozenEncoder
from pinxit.text.tokenizers import Tokenizer
from pinxit.weights.checkpoint import fingerprint


class LearnedText(FrozenEncoder):
    """`encode` for painting and evaluation, without gradients; training calls `model(encoder.batch_ids(texts))`."""

    def __init__(
        self,
        model: TextTransformer,
        tokenizer: Tokenizer,
        name: str = "learned",
        running: EncoderOptions = EncoderOptions(),
    ) -> None:
        super().__init__(
            name,
            width=model.config.width,
            pooled_width=model.config.width,
            positions=model.config.tokens,
            pad=0,
            identify=lambda: fingerprint(model),
            running=running,
        )
        self.model, self.tokenizer = model.to(self.device), tokenizer

    def batch_ids(self, texts: Sequence[str]) -> Tensor:
        """int64 [B, L] on the encoder's device: start, text, end, pads."""
        return torch.from_numpy(self.tokenizer.encode_clip(texts, self.length)).to(self.device)

    def ids(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        longest = limit or 2 + max((self.tokenizer.count(text) for text in texts), default=0)
        rows: list[list[int]] = self.tokenizer.encode_clip(texts, longest).tolist()
        return [[token for token in row if token] for row in rows]  # no text contains a pad

    def unknown_words(self, text: str) -> list[str]:
        """Words that no training caption held."""
        return self.tokenizer.unknown_words(text)

    def run(self, ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.model(ids_BL)
        return encoded.sequence, encoded.pooled
