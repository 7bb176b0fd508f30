"""What some painters can do besides painting: a painter has an ability if it has the methods of its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pinxit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinxit.recipes.dalle.holes import Hole, PixelBox
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.painting import Painter
    from pinxit.recipes.requests import PaintRequest
    from pinxit.types import Mask, Picture, Ranked


@runtime_checkable
class Completes(Protocol):
    """Redraws part of a picture."""

    def hole(self, picture: Picture, *, keep_rows: int | None = None, box: PixelBox | None = None) -> Hole:
        """The cells to redraw, from rows to keep or from a box in pixels of `picture`: bool [h, w]."""
        ...

    def complete(self, picture: Picture, prompt: str, hole: Hole, **how: Any) -> list[Ranked]:
        """The cells of `hole` redrawn in the centre square of `picture`, best first.

        `how`: candidates, keep, seed, watch and settings, as in `Painter.paint`.
        """
        ...


@runtime_checkable
class Manipulates(Protocol):
    """Manipulates pictures through their CLIP embeddings (unCLIP, section 3); see `recipes.unclip.manipulation`."""

    def vary(self, picture: Picture, **how: Any) -> list[Ranked]:
        """Variations: other pictures of the same things, best first by the similarity of their CLIP embeddings."""
        ...

    def blend(self, one: Picture, other: Picture, **how: Any) -> list[Picture]:
        """Pictures that interpolate between the two."""
        ...

    def shift(self, picture: Picture, before: str, after: str, **how: Any) -> list[Picture]:
        """Text diff: the picture changed step by step as caption `before` changes to `after`."""
        ...

    def reconstruct(self, picture: Picture, **how: Any) -> list[Picture]:
        """The picture drawn again from its inverted noise, with ever more of its embedding's principal components."""
        ...

    def edit(self, picture: Picture, mask: Mask, prompt: str, **how: Any) -> list[Ranked]:
        """The picture with what is white in the mask repainted (inpainting)."""
        ...


@runtime_checkable
class Edits(Protocol):
    """Repaints part of a picture, or the whole of it for another sentence, as a job of the engine."""

    def editing(self, asked: PaintRequest, picture: Picture, mask: Mask | None) -> PaintRequest:
        """The request `asked` (see `Painter.asked`) as an edit of `picture`, of any size, inside `mask`.

        `mask` has the picture's size; None: everything. Nothing is computed yet. Raises UsageError for a mask in which
        it cannot paint, or for None if it needs one.
        """
        ...


@runtime_checkable
class Varies(Protocol):
    """Paints variations of a picture, as a job of the engine."""

    def varying(self, asked: PaintRequest, picture: Picture) -> PaintRequest:
        """The request `asked` (see `Painter.asked`) as variations of `picture` (any size); nothing is computed yet."""
        ...

    def used_settings(self, given: Mapping[str, Any], *, own_noise: bool) -> dict[str, Any]:
        """The settings that pictures drawn from an embedding alone depend on, defaults overridden by those given.

        `own_noise`: they start from a picture's inverted noise. Raises UsageError for a setting without effect.
        """
        ...


@runtime_checkable
class Blends(Protocol):
    """Interpolates between two pictures, as a job of the engine."""

    def blending(self, asked: PaintRequest, one: Picture, other: Picture) -> PaintRequest:
        """The request `asked` (see `Painter.asked`), whose candidates become the pictures of a blend.

        Nothing is computed yet.
        """
        ...


def abilities(painter: Painter) -> list[str]:
    """Which of paint, edit, vary and blend a painter can do.

    Its class having the methods is not enough: a checkpoint may lack a part, or may not have been trained for it.
    """
    able = {
        "paint": _checked(painter, "check_paints"),
        "edit": isinstance(painter, Edits) and _checked(painter, "check_edits"),
        "vary": isinstance(painter, Varies) and _checked(painter, "check_varies"),
        "blend": isinstance(painter, Blends) and _checked(painter, "check_varies"),
    }
    return [name for name, yes in able.items() if yes]


def _checked(painter: Painter, name: str) -> bool:
    try:
        getattr(painter, name, lambda: None)()
    except UsageError:
        return False
    return True


@runtime_checkable
class Cascade(Protocol):
    """Has, or may have, an upsampler of its own."""

    upsampler: Upsampler | None


def upsampler_of(painter: Painter) -> Upsampler | None:
    """The painter's own, if it has any."""
    return painter.upsampler if isinstance(painter, Cascade) else None
