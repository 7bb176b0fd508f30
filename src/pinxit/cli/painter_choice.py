"""Which painter a command opens, and what enlarges its pictures: plain values, which another process can open too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pinxit.cli.painter_settings import settled
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.painting import Painter

ENLARGING = "imagen-tiny"  # the shipped checkpoint that enlarges for painters that cannot


@dataclass(frozen=True)
class Opened:
    """A painter, what enlarges its pictures, and all settings."""

    painter: Painter
    enlarger: Upsampler | None
    settings: Mapping[str, Any]

    def facts(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """All that decides which pictures there are, beside the prompt: settings, what is asked, who enlarges."""
        return {**self.settings, **asked, **({} if self.enlarger is None else self.enlarger.facts)}


@dataclass(frozen=True)
class PainterChoice:
    """The options that say who paints."""

    checkpoint: str
    device: str
    int8: bool
    recipe: str | None
    ranker: str | None
    upscale: int | None
    upsampler: str | None
    given: Mapping[str, Any]  # settings

    def open(self) -> Opened:
        """Raises UsageError and CheckpointError for what does not exist or does not fit."""
        from pinxit.api import load

        painter = load(self.checkpoint, device=self.device, int8=self.int8, recipe=self.recipe, ranker=self.ranker)
        enlarging = enlarger(painter, self.upscale, self.upsampler, self.device)
        settings = settled(self.given, painter, enlarging)
        if enlarging is not None:
            enlarging.tune(self.given)
        return Opened(painter, enlarging, settings)


def enlarger(painter: Painter, upscale: int | None, named: str | None, device: str) -> Upsampler | None:
    """What enlarges the kept pictures: the one that is named, the painter's own, or the shipped one; None: nothing."""
    from pinxit.api import load_upsampler
    from pinxit.recipes.capabilities import upsampler_of

    own = upsampler_of(painter)
    if upscale == 0 or (upscale is None and own is None):
        if named is not None:
            raise UsageError(
                f"--upsampler {named} would enlarge nothing: say with --upscale how large to make pictures."
            )
        return None
    if named or own is None:
        upsampler = load_upsampler(named or ENLARGING, device=device, reader=painter.reader)
    else:
        upsampler = own
    upsampler = upsampler if upscale is None else upsampler.making(upscale)
    upsampler.check_size(painter.size, painter.size)
    return upsampler
