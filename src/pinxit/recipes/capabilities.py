"""What some painters can besides painting: whoever has these methods can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pinxit.recipes.dalle.holes import Hole, PixelBox
    from pinxit.types import Picture, Ranked


@runtime_checkable
class Completes(Protocol):
    """Redraws a part of a picture."""

    def hole(self, picture: Picture, *, keep_rows: int | None = None, box: PixelBox | None = None) -> Hole:
        """The cells to redraw, from rows to keep or from a box in pixels of `picture`: bool [h, w]."""
        ...

    def complete(self, picture: Picture, prompt: str, hole: Hole, **how: Any) -> list[Ranked]:
        """The cells of `hole` redrawn in the centre square of `picture`, best first; `how` as in `Painter.paint`."""
        ...
