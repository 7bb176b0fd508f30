"""Karlo paints and varies pictures: an unCLIP of which a folder may hold only the part that does one of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pinxit.errors import UsageError
from pinxit.recipes.karlo.embedder import KarloEmbedder
from pinxit.recipes.unclip.inversion import STEPS
from pinxit.recipes.unclip.painter import UnclipPainter

if TYPE_CHECKING:
    from pinxit.recipes.requests import PaintRequest
    from pinxit.recipes.unclip.graph import Start
    from pinxit.types import Latent, Picture, Prompt


class KarloPainter(UnclipPainter):
    """A loaded Karlo. Open one with `pinxit.load`. Settings: those of `UnclipPainter`."""

    embedder: KarloEmbedder

    def invert(self, pictures: Sequence[Picture], **how: Any) -> list[Latent]:
        """As `Inversion.invert`. Raises UsageError where it sees no pictures, before anything is computed."""
        self.check_varies()
        return super().invert(pictures, **how)

    def varying(self, asked: PaintRequest, picture: Picture, start: Start | None = None) -> PaintRequest:
        """As `Manipulation.varying`. Raises UsageError where it sees no pictures."""
        self.check_varies()
        return super().varying(asked, picture, start)

    def blending(self, asked: PaintRequest, one: Picture, other: Picture, ddim_steps: int = STEPS) -> PaintRequest:
        """As `Manipulation.blending`. Raises UsageError where it sees no pictures."""
        self.check_varies()
        return super().blending(asked, one, other, ddim_steps)

    def check_varies(self) -> None:
        """Raise UsageError where it sees no pictures."""
        self.embedder.sight()

    def check_paints(self) -> None:
        """Raise UsageError for a folder that has no prior."""
        if not self.priors:
            message = f"{self.name} has no prior: it varies pictures, and paints no sentence"
            raise UsageError(f"{message}; give the folder of Karlo that has one.")

    def _asked(self, asked: Sequence[Prompt], candidates: int, given: Mapping[str, Any]) -> dict[str, Any]:
        if asked:
            self.check_paints()
        return super()._asked(asked, candidates, given)
