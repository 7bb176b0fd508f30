"""Which painter and upsampler a command opens, as plain values, so that another process can open them too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pinxit.cli.painter_settings import resolve_settings
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.painting import Painter

ENLARGING = "imagen-tiny"  # the shipped upsampler, for painters without one


@dataclass(frozen=True)
class OpenedPainter:
    """A painter, its upsampler, and all settings."""

    painter: Painter
    enlarger: Upsampler | None
    settings: Mapping[str, Any]

    def facts(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Everything but the prompt that the pictures depend on: settings, what is asked, the upsampler."""
        return {**self.settings, **asked, **({} if self.enlarger is None else self.enlarger.facts)}


@dataclass(frozen=True)
class PainterChoice:
    """The options that choose a painter."""

    checkpoint: str
    device: str
    int8: bool
    recipe: str | None
    ranker: str | None
    upscale: int | None
    upsampler: str | None
    given: Mapping[str, Any]  # settings

    def open(self) -> OpenedPainter:
        """Open them. Raises UsageError or CheckpointError for what does not exist or does not fit."""
        from pinxit.api import load

        painter = load(self.checkpoint, device=self.device, int8=self.int8, recipe=self.recipe, ranker=self.ranker)
        enlarging = enlarger(painter, self.upscale, self.upsampler, self.device)
        settings = resolve_settings(self.given, painter, enlarging)
        if enlarging is not None:
            enlarging.tune(self.given)
        return OpenedPainter(painter, enlarging, settings)


def enlarger(painter: Painter, upscale: int | None, named: str | None, device: str) -> Upsampler | None:
    """The upsampler of the kept pictures: the named one, else the painter's own, else the shipped one; None: none."""
    from pinxit.api import load_upsampler
    from pinxit.recipes.capabilities import upsampler_of

    own = upsampler_of(painter)
    if upscale == 0 or (upscale is None and own is None):
        if named is not None:
            raise UsageError(
                f"--upsampler {named} would enlarge nothing: say with --upscale how large to make pictures."
            )
        return None
    if named is not None or own is None:
        upsampler = load_upsampler(ENLARGING if named is None else named, device=device, reader=painter.reader)
    else:
        upsampler = own
    upsampler = upsampler if upscale is None else upsampler.for_size(upscale)
    upsampler.check_size(painter.size, painter.size)
    return upsampler
