"""What some painters can besides painting: whoever has what a protocol names can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.dalle.holes import Hole, PixelBox
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.painting import Painter
    from pinxit.recipes.requests import PaintRequest
    from pinxit.types import Mask, Picture, Ranked


@runtime_checkable
class Completes(Protocol):
    """Redraws a part of a picture."""

    def hole(self, picture: Picture, *, keep_rows: int | None = None, box: PixelBox | None = None) -> Hole:
        """The cells to redraw, from rows to keep or from a box in pixels of `picture`: bool [h, w]."""
        ...

    def complete(self, picture: Picture, prompt: str, hole: Hole, **how: Any) -> list[Ranked]:
        """The cells of `hole` redrawn in the centre square of `picture`, best first; `how` as in `Painter.paint`."""
        ...


@runtime_checkable
class Manipulates(Protocol):
    """Draws pictures anew from what a CLIP sees in them; see `recipes.unclip.manipulation`."""

    def vary(self, picture: Picture, **how: Any) -> list[Ranked]:
        """Other pictures of the same things, those first that CLIP sees them in."""
        ...

    def blend(self, one: Picture, other: Picture, **how: Any) -> list[Picture]:
        """The way from one picture to the other."""
        ...

    def shift(self, picture: Picture, before: str, after: str, **how: Any) -> list[Picture]:
        """The picture led from what one caption says to what another does."""
        ...

    def reconstruct(self, picture: Picture, **how: Any) -> list[Picture]:
        """The picture drawn from the noise behind it, and from parts of what is seen in it."""
        ...

    def edit(self, picture: Picture, mask: Mask, prompt: str, **how: Any) -> list[Ranked]:
        """The picture with what is white in the mask painted anew."""
        ...


@runtime_checkable
class Edits(Protocol):
    """Paints a part of a picture anew, or the whole of it to another sentence, as a job of the engine."""

    def editing(self, asked: PaintRequest, picture: Picture, mask: Mask | None) -> PaintRequest:
        """What `Painter.asked` gave, as an edit of `picture` (any size) where `mask` (as large; None: all of it) says.

        Nothing is computed yet. Raises UsageError for a mask that it cannot paint in, or None where it needs one.
        """
        ...


@runtime_checkable
class Varies(Protocol):
    """Paints what looks like a picture, as a job of the engine."""

    def varying(self, asked: PaintRequest, picture: Picture) -> PaintRequest:
        """What `Painter.asked` gave, as variations of `picture` (any size); nothing is computed yet."""
        ...


@runtime_checkable
class Blends(Protocol):
    """Leads from one picture to another, as a job of the engine."""

    def blending(self, asked: PaintRequest, one: Picture, other: Picture) -> PaintRequest:
        """What `Painter.asked` gave, as so many pictures on the way; nothing is computed yet."""
        ...


def abilities(painter: Painter) -> list[str]:
    """Of paint, edit, vary and blend: of a kind that can, some checkpoints lack the part or have not learned it."""
    found = {
        "paint": _checked(painter, "check_paints"),
        "edit": isinstance(painter, Edits) and _checked(painter, "check_edits"),
        "vary": isinstance(painter, Varies) and _checked(painter, "check_varies"),
        "blend": isinstance(painter, Blends) and _checked(painter, "check_varies"),
    }
    return [name for name, yes in found.items() if yes]


def _checked(painter: Painter, name: str) -> bool:
    try:
        getattr(painter, name, lambda: None)()
    except UsageError:
        return False
    return True


@runtime_checkable
class Cascade(Protocol):
    """Has an upsampler of its own, or a place for one."""

    upsampler: Upsampler | None


def upsampler_of(painter: Painter) -> Upsampler | None:
    """The painter's own, if it has any."""
    return painter.upsampler if isinstance(painter, Cascade) else None
