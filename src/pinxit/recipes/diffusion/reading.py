"""The text encoders of runs and checkpoints: plain, or with DeepFloyd IF's treatment of captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pinxit.recipes.deepfloyd.captions import clean_caption
from pinxit.recipes.deepfloyd.reading import CleanCaptions
from pinxit.recipes.diffusion.conditions import Captions
from pinxit.text.encoders import open_text_encoder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pinxit.recipes.diffusion.config import TextEncoderConfig
    from pinxit.text.encoders import TextEncoder
    from pinxit.text.frozen import Precision
    from pinxit.types import EncodedText


class CleanReader:
    """A text encoder that first cleans captions as DeepFloyd IF does; one of which nothing is left becomes empty."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.name, self.width, self.pooled_width = encoder.name, encoder.width, encoder.pooled_width
        self.length, self.precision, self.padded = encoder.length, encoder.precision, encoder.padded

    @property
    def fingerprint(self) -> str:
        """That of the encoder."""
        return self.encoder.fingerprint

    def encode(self, texts: Sequence[str], batch: int = 1) -> EncodedText:
        """As `TextEncoder.encode`, on cleaned captions; so are the other methods."""
        return self.encoder.encode(_clean(texts), batch)

    def ragged(self, texts: Sequence[str], batch: int = 1) -> tuple[list[Tensor], Tensor]:
        return self.encoder.ragged(_clean(texts), batch)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return self.encoder.lengths(_clean(texts))

    def null(self) -> EncodedText:
        return self.encoder.null()

    def tokens_over_limit(self, text: str) -> int:
        return self.encoder.tokens_over_limit(clean_caption(text))

    def unknown_words(self, text: str) -> list[str]:
        return self.encoder.unknown_words(clean_caption(text))


def training_reader(about: TextEncoderConfig, device: torch.device) -> TextEncoder:
    """The frozen text encoder of a run, on `device`."""
    padded = about.manner == "deepfloyd"
    reader = open_text_encoder(about.encoder, device, about.length, "bf16", padded=padded, spell=about.spell)
    return CleanReader(reader) if padded else reader


def painting_reader(
    about: TextEncoderConfig, device: torch.device, precision: Precision, known: TextEncoder | None = None
) -> TextEncoder:
    """The frozen text encoder of a checkpoint, for `captions_of`; `known` as in `open_text_encoder`."""
    padded = about.manner == "deepfloyd"
    return open_text_encoder(
        about.encoder, device, about.length, precision, padded=padded, spell=about.spell, known=known
    )


def captions_of(about: TextEncoderConfig, reader: TextEncoder) -> Captions:
    """What turns captions into conditions of a checkpoint's networks, by the text encoder `reader`."""
    return CleanCaptions(reader) if about.manner == "deepfloyd" else Captions(reader)


def _clean(texts: Sequence[str]) -> list[str]:
    return [clean_caption(text) for text in texts]
