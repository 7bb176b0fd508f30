"""What diffusion painters share: their settings, and the sigmas that follow from these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinxit import __version__
from pinxit.errors import UsageError
from pinxit.functional.diffusion import karras_sigmas
from pinxit.models.clip import CLIP
from pinxit.models.torch_defaults import torch_defaults
from pinxit.pipelines.denoise import Denoiser
from pinxit.pipelines.lanes import tile_of
from pinxit.recipes.diffusion.conditions import Captions
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.painting import Painter
from pinxit.recipes.ranking import Ranker
from pinxit.text.encoders import TextEncoder

CPU_ROWS = 2  # rows of a call, for one guided picture (measured: docs/log.md)
KARRAS_FIRST = 80.0  # sigma_max of Karras et al. (EDM, table 1): practically pure noise
SETTINGS = ("guidance", "steps", "sampler", "grid", "spacing", "percentile", "clip_guidance", "agreement")


class DiffusionPainter(Painter):
    """A loaded diffusion checkpoint that paints; each recipe adds its graph.

    Settings: guidance (1: none), steps, sampler, percentile (of dynamic thresholding, 0: static), clip_guidance (0:
    none), agreement (of ranking; 0: none); for a continuous schedule also grid (even, karras), and for a discrete one
    spacing, which names the timesteps in place of `steps` ("smart100", "10,10,3,2,2"; "": equal strides).
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
        """`tile`: rows of a call (None: the device's default); affects speed and, perhaps, last bits."""
        self.denoiser, self.config, self.captions, self.ranker = denoiser, config, captions, ranker
        self.upsampler, self.name, self.sampling = upsampler, name, sampling
        self.tile = tile or tile_of(denoiser.device, CPU_ROWS)
        self.size, self.text_tokens = config.size, self.reader.length
        foreign = "grid" if config.diffusion.steps else "spacing"
        self.defaults: dict[str, Any] = {key: getattr(sampling, key) for key in SETTINGS if key != foreign}
        self.provenance = {"recipe": recipe, "checkpoint": name, "pinxit": __version__} | (provenance or {})

    @property
    def clip(self) -> CLIP | None:
        """The CLIP of its CLIP guidance: the one that ranks."""
        return self.ranker.clip

    @property
    def reader(self) -> TextEncoder:
        """The text encoder of its prompts."""
        return self.captions.encoder

    def settled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As `Painter.settled`, with steps that are given in place of a spacing that is not.

        Also raises UsageError for an unknown spacing, both steps and a spacing, and CLIP guidance without a CLIP.
        """
        if given.get("spacing") and given.get("steps") not in (None, self.defaults["steps"]):
            raise UsageError("give steps or spacing, but not both: a spacing names its own timesteps.")
        if "spacing" in self.defaults and given.get("steps") is not None and given.get("spacing") is None:
            given = {**given, "spacing": ""}
        about = super().settled(given)
        if about["clip_guidance"] and self.clip is None:
            if given.get("clip_guidance"):
                raise UsageError(f"clip_guidance has no effect on {self.name}, which has no CLIP for it: leave it out.")
            about["clip_guidance"] = 0.0
        levels(self.config.diffusion, about)
        return about

    def recorded(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that go into metadata: without `steps` where a spacing names the timesteps."""
        overruled = "steps" if settings.get("spacing") else "spacing"
        return {name: value for name, value in settings.items() if name != overruled}

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the prompt will be dropped; 0 when it fits."""
        return self.captions.tokens_over_limit(text)

    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that its text encoder has no token for, or never saw in training."""
        return self.captions.unknown_words(text)


@torch_defaults()
def levels(about: DiffusionConfig, settings: Mapping[str, Any]) -> tuple[float, ...]:
    """The sigmas of a sampler, descending to 0: by `steps` on a `grid`, or by a `spacing`."""
    if spacing := settings.get("spacing"):
        return tuple(about.spaced_sigmas(spacing))
    if settings.get("grid") == "karras":
        return tuple(karras_sigmas(settings["steps"], float(about.sigma_at(0.0)), KARRAS_FIRST))
    return tuple(about.even_sigmas(settings["steps"]))
