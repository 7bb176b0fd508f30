"""What painters by diffusion share: their settings, and the noise levels that these ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinxit import __version__
from pinxit.errors import UsageError
from pinxit.functional.diffusion import karras_sigmas
from pinxit.pipelines.denoise import Denoiser
from pinxit.pipelines.lanes import tile_of
from pinxit.recipes.diffusion.conditions import Captions
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.painting import Painter
from pinxit.recipes.ranking import Ranker
from pinxit.text.encoders import TextEncoder

CPU_ROWS = 2  # of a call: a guided picture (docs/log.md)
KARRAS_FIRST = 80.0  # where Karras et al. begin (EDM, table 1): as good as pure noise
SETTINGS = ("guidance", "steps", "sampler", "grid", "spacing", "percentile", "agreement")


class DiffusionPainter(Painter):
    """A loaded checkpoint that draws by denoising; each system adds its graph.

    Settings: guidance (1: none), steps, sampler, percentile (of dynamic thresholding, 0: static), agreement (of
    ranking; 0: none); where the schedule is continuous, grid (even, karras); where it is discrete, spacing, which names
    the timesteps instead of steps ("smart100", "10,10,3,2,2"; "": equal strides).
    """

    kinds: type[Any] = SamplingConfig

    def __init__(
        self,
        denoiser: Denoiser,
        config: StageConfig,
        sampling: SamplingConfig,
        captions: Captions,
        ranker: Ranker,
        upsampler: Upsampler | None = None,
        *,
        recipe: str = "imagen",
        name: str = "imagen",
        provenance: dict[str, Any] | None = None,
        tile: int | None = None,
    ) -> None:
        """`tile`: rows of a call (None: the device's usual); a change changes speed and, perhaps, last bits."""
        self.denoiser, self.config, self.captions, self.ranker = denoiser, config, captions, ranker
        self.upsampler, self.name, self.sampling = upsampler, name, sampling
        self.tile = tile or tile_of(denoiser.device, CPU_ROWS)
        self.size, self.text_tokens = config.size, self.reader.length
        foreign = "grid" if config.diffusion.steps else "spacing"
        self.defaults: dict[str, Any] = {key: getattr(sampling, key) for key in SETTINGS if key != foreign}
        self.provenance = {"recipe": recipe, "checkpoint": name, "pinxit": __version__} | (provenance or {})

    @property
    def reader(self) -> TextEncoder:
        """Who reads its prompts."""
        return self.captions.encoder

    def settled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, those given in place of its own; also a spacing that there is not is refused."""
        if given.get("spacing") and given.get("steps") not in (None, self.defaults["steps"]):
            raise UsageError("give steps or spacing, but not both: a spacing names its own timesteps.")
        about = super().settled(given)
        levels(self.config.diffusion, about)
        return about

    def recorded(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What metadata record of settings: a spacing names its own timesteps, so that `steps` mean nothing."""
        overruled = "steps" if settings.get("spacing") else "spacing"
        return {name: value for name, value in settings.items() if name != overruled}

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the prompt will be dropped; 0 when it fits."""
        return self.captions.tokens_over_limit(text)

    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that its reader has no token for, or never met in training."""
        return self.captions.unknown_words(text)


def levels(about: DiffusionConfig, settings: Mapping[str, Any]) -> tuple[float, ...]:
    """What a sampler walks down by `steps` on a `grid`, or by a `spacing`, the last one 0."""
    if spacing := settings.get("spacing"):
        return tuple(about.spaced_sigmas(spacing))
    if settings.get("grid") == "karras":
        return tuple(karras_sigmas(settings["steps"], float(about.sigma_at(0.0)), KARRAS_FIRST))
    return tuple(about.even_sigmas(settings["steps"]))
