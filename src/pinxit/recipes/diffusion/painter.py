"""A cascade paints: text -> frozen reader -> a small picture out of noise -> ranked by CLIP; kept ones may be enlarged.

Every machine here has fixed shapes and independent slots, so candidate k of seed s is the same picture, bit for bit,
whatever else is painted beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pinxit import __version__
from pinxit.functional.diffusion import karras_sigmas
from pinxit.pipelines.denoise import Denoiser, DenoiseRequest, DenoiseStepper
from pinxit.recipes.diffusion.conditions import Captions
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.diffusion.upsampler import Upsampler, as_pictures
from pinxit.recipes.painting import Painter, Ranker, Watch, draw
from pinxit.text.encoders import TextEncoder
from pinxit.types import Prompt

if TYPE_CHECKING:
    from pinxit.types import Picture

SLOTS = 16  # pictures drawn at once; a change changes nothing but speed and, in the last bits, the pictures
KARRAS_FIRST = 80.0  # where Karras et al. begin (EDM, table 1): as good as pure noise
SETTINGS = ("guidance", "steps", "sampler", "grid", "spacing", "percentile", "agreement")


class DiffusionPainter(Painter):
    """A loaded cascade: Imagen's, DeepFloyd IF's. Open one with `pinxit.load`.

    Settings: guidance (1: none), steps, sampler, percentile (of dynamic thresholding, 0: static), agreement (of
    ranking; 0: none); where the schedule is continuous, grid (even, karras); where it is discrete, spacing, which names
    the timesteps instead of steps ("smart100", "10,10,3,2,2"; "": equal strides).
    """

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
        slots: int = SLOTS,
    ) -> None:
        self.denoiser, self.config, self.captions, self.ranker = denoiser, config, captions, ranker
        self.upsampler, self.name, self.slots, self.sampling = upsampler, name, slots, sampling
        self.size, self.text_tokens = config.size, self.reader.length
        foreign = "grid" if config.diffusion.steps else "spacing"
        self.defaults: dict[str, Any] = {key: getattr(sampling, key) for key in SETTINGS if key != foreign}
        self.provenance = {"recipe": recipe, "checkpoint": name, "pinxit": __version__} | (provenance or {})
        self._steppers: dict[bool, DenoiseStepper] = {}

    @property
    def reader(self) -> TextEncoder:
        """Who reads its prompts."""
        return self.captions.encoder

    def told(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What metadata tell of settings: a spacing names its own timesteps, so that `steps` mean nothing."""
        overruled = "steps" if settings.get("spacing") else "spacing"
        return {name: value for name, value in settings.items() if name != overruled}

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the prompt will be dropped; 0 when it fits."""
        return self.captions.tokens_over_limit(text)

    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that its reader has no token for, or never met in training."""
        return self.captions.unknown_words(text)

    def _candidates_of(
        self, asked: Sequence[Prompt], candidates: int, settings: dict[str, Any], watch: Watch | None
    ) -> list[Picture]:
        requests = [one for prompt in asked for one in self._requests(prompt, candidates, settings)]
        return as_pictures(self._draw(requests, watch))

    def _requests(self, prompt: Prompt, candidates: int, settings: dict[str, Any]) -> list[DenoiseRequest]:
        check_settings(settings)
        conditions, null = map(self.config.taken, self.captions(prompt.text))
        sigmas = levels(self.config.diffusion, settings)
        thresholding = self.sampling.thresholding(settings["percentile"])
        return [
            DenoiseRequest(
                conditions,
                null,
                sigmas,
                settings["sampler"],
                prompt.seed,
                candidate,
                guidance=settings["guidance"],
                thresholding=thresholding,
            )
            for candidate in range(candidates)
        ]

    def _draw(self, requests: Sequence[DenoiseRequest], watch: Watch | None) -> list[Tensor]:
        stepper = self._stepper(guided=any(one.guidance != 1 for one in requests))
        return draw(stepper, requests, lambda slots: as_pictures([stepper.partial(slot) for slot in slots]), watch)

    def _stepper(self, guided: bool) -> DenoiseStepper:
        if guided not in self._steppers:
            self._steppers[guided] = DenoiseStepper(self.denoiser, self.slots, guided)
        return self._steppers[guided]


def levels(about: DiffusionConfig, settings: Mapping[str, Any]) -> tuple[float, ...]:
    """What a sampler walks down by `steps` on a `grid`, or by a `spacing`, the last one 0."""
    if spacing := settings.get("spacing"):
        return tuple(about.spaced_sigmas(spacing))
    if settings.get("grid") == "karras":
        return tuple(karras_sigmas(settings["steps"], float(about.sigma_at(0.0)), KARRAS_FIRST))
    return tuple(about.even_sigmas(settings["steps"]))


def check_settings(about: Mapping[str, Any]) -> None:
    """Raise UsageError for a setting that no picture can be drawn with."""
    SamplingConfig(**{name: about[name] for name in SETTINGS if name in about})
