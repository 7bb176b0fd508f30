"""Karlo as a painter: an unCLIP whose folder may lack the prior, to paint, or the image tower, to vary pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pinxit.errors import UsageError
from pinxit.recipes.karlo.embedder import KarloEmbedder
from pinxit.recipes.unclip.inversion import STEPS
from pinxit.recipes.unclip.painter import UnclipPainter

if TYPE_CHECKING:
    from pinxit.recipes.requests import PaintRequest
    from pinxit.recipes.unclip.graph import SamplingStart
    from pinxit.types import Latent, Picture, Prompt


class KarloPainter(UnclipPainter):
    """A loaded Karlo. Open one with `pinxit.load`. Settings: those of `UnclipPainter`."""

    embedder: KarloEmbedder

    def invert(self, pictures: Sequence[Picture], **how: Any) -> list[Latent]:
        """As `Inversion.invert`. Raises UsageError if there is no image tower, before anything is computed."""
        self.check_varies()
        return super().invert(pictures, **how)

    def varying(self, asked: PaintRequest, picture: Picture, start: SamplingStart | None = None) -> PaintRequest:
        """As `Manipulation.varying`. Raises UsageError if there is no image tower."""
        self.check_varies()
        return super().varying(asked, picture, start)

    def blending(self, asked: PaintRequest, one: Picture, other: Picture, ddim_steps: int = STEPS) -> PaintRequest:
        """As `Manipulation.blending`. Raises UsageError if there is no image tower."""
        self.check_varies()
        return super().blending(asked, one, other, ddim_steps)

    def check_varies(self) -> None:
        """Raise UsageError if there is no image tower, without which it cannot vary pictures."""
        self.embedder.sight()

    def check_paints(self) -> None:
        """Raise UsageError if there is no prior, without which it cannot paint from text."""
        if not self.priors:
            message = f"{self.name} has no prior: it can vary pictures, but not paint from text"
            raise UsageError(f"{message}; give the folder of Karlo that has one.")

    def _asked(self, asked: Sequence[Prompt], candidates: int, given: Mapping[str, Any]) -> dict[str, Any]:
        if asked:
            self.check_paints()
        return super()._asked(asked, candidates, given)
