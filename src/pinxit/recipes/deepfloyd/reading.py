"""Captions as conditions of DeepFloyd IF: cleaned as in its training, and read by its language model."""

from __future__ import annotations

from functools import cached_property

from pinxit.errors import UsageError
from pinxit.recipes.deepfloyd.captions import clean_caption
from pinxit.recipes.diffusion.conditions import Captions, Conditions


class CleanCaptions(Captions):
    """Captions cleaned and read; the networks see all positions of the sequence, those after the text too."""

    def __call__(self, caption: str) -> tuple[Conditions, Conditions]:
        """`sequence` float32 [L, D], and the empty caption's. Raises UsageError when cleaning leaves nothing of one."""
        cleaned = clean_caption(caption)
        if not cleaned:
            raise UsageError(f"'{caption}' has no word that DeepFloyd IF can read: write the prompt in English.")
        return {"sequence": self.encoder.encode([cleaned]).sequence[0]}, self.null

    @cached_property
    def null(self) -> Conditions:
        """What guidance leads away from: the empty caption as the language model tells it."""
        return {"sequence": self.encoder.null().sequence[0]}

    def tokens_over_limit(self, caption: str) -> int:
        return super().tokens_over_limit(clean_caption(caption))
