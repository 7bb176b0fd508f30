"""Captions as conditions of DeepFloyd IF: cleaned as in its training, and encoded by its language model (T5)."""

from __future__ import annotations

from functools import cached_property

from pinxit.errors import UsageError
from pinxit.recipes.deepfloyd.captions import clean_caption
from pinxit.recipes.diffusion.conditions import Captions, Conditions


class CleanCaptions(Captions):
    """Cleaned and encoded captions. There is no mask: the networks were trained to attend to padding too."""

    def __call__(self, caption: str) -> tuple[Conditions, Conditions]:
        """`sequence` float32 [L, D] of a caption, and of the empty one.

        Raises UsageError if cleaning leaves nothing of a caption; without one, as of variations, both are the same.
        """
        cleaned = clean_caption(caption)
        if caption.strip() and not cleaned:
            raise UsageError(f"'{caption}' has no word that DeepFloyd IF can read: write the prompt in English.")
        return {"sequence": self.encoder.encode([cleaned]).sequence[0]}, self.null

    @cached_property
    def null(self) -> Conditions:
        """The unconditional input of guidance: the encoded empty caption."""
        return {"sequence": self.encoder.null().sequence[0]}

    def tokens_over_limit(self, caption: str) -> int:
        return super().tokens_over_limit(clean_caption(caption))
