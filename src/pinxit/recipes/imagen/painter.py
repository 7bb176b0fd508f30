"""Imagen paints: text -> frozen reader -> 64 px out of noise -> ranked by CLIP; the kept ones may be enlarged.

Every machine here has fixed shapes and independent slots, so candidate k of seed s is the same picture, bit for bit,
whatever else is painted beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pinxit import __version__
from pinxit.functional.diffusion import karras_sigmas
from pinxit.functional.guidance import Thresholding
from pinxit.pipelines.denoise import Conditions, Denoiser, DenoiseRequest, DenoiseStepper
from pinxit.recipes.imagen.conditions import told
from pinxit.recipes.imagen.config import Grid, SamplingConfig, StageConfig
from pinxit.recipes.imagen.denoiser import DiffusionConfig
from pinxit.recipes.imagen.upsampler import Upsampler, as_pictures
from pinxit.recipes.painting import Painter, Ranker, Watch, draw
from pinxit.text.encoders import TextEncoder
from pinxit.types import Prompt

if TYPE_CHECKING:
    from pinxit.types import Picture

SLOTS = 16  # pictures drawn at once; a change changes nothing but speed and, in the last bits, the pictures
KARRAS_FIRST = 80.0  # where Karras et al. begin (EDM, table 1): as good as pure noise
SETTINGS = ("guidance", "steps", "sampler", "grid", "percentile", "agreement")


class ImagenPainter(Painter):
    """A loaded Imagen. Open one with `pinxit.load`.

    Settings: guidance (1: none), steps, sampler, grid (even, karras), percentile (of dynamic thresholding, 0: static),
    agreement (of ranking; 0: none).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        config: StageConfig,
        sampling: SamplingConfig,
        reader: TextEncoder,
        ranker: Ranker,
        upsampler: Upsampler | None = None,
        *,
        name: str = "imagen",
        provenance: dict[str, Any] | None = None,
        slots: int = SLOTS,
    ) -> None:
        self.denoiser, self.config, self.reader, self.ranker = denoiser, config, reader, ranker
        self.upsampler, self.name, self.slots = upsampler, name, slots
        self.size, self.text_tokens = config.size, reader.length
        self.defaults: dict[str, Any] = {key: getattr(sampling, key) for key in SETTINGS}
        self.provenance = {"recipe": "imagen", "checkpoint": name, "pinxit": __version__} | (provenance or {})
        self._steppers: dict[bool, DenoiseStepper] = {}

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the prompt will be dropped; 0 when it fits."""
        return self.reader.tokens_over_limit(text)

    def unknown_words(self, text: str) -> list[str]:
        """Words of the prompt that its reader has no token for, or never met in training."""
        return self.reader.unknown_words(text)

    def _candidates_of(
        self, asked: Sequence[Prompt], candidates: int, settings: dict[str, Any], watch: Watch | None
    ) -> list[Picture]:
        requests = [one for prompt in asked for one in self._requests(prompt, candidates, settings)]
        return as_pictures(self._draw(requests, watch))

    def _requests(self, prompt: Prompt, candidates: int, settings: dict[str, Any]) -> list[DenoiseRequest]:
        check_settings(settings)
        conditions, null = self._told(prompt.text)
        sigmas, thresholding = self._sigmas(settings), self._thresholding(settings)
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

    def _told(self, text: str) -> tuple[Conditions, Conditions]:
        """What the network is given of a text, and of none."""
        return told(self.reader, text)

    def _sigmas(self, settings: dict[str, Any]) -> tuple[float, ...]:
        """What a sampler walks down, the last one 0."""
        return levels(settings["grid"], self.config.diffusion, settings["steps"])

    def _thresholding(self, settings: dict[str, Any]) -> Thresholding:
        return Thresholding.of(settings["percentile"])

    def _draw(self, requests: Sequence[DenoiseRequest], watch: Watch | None) -> list[Tensor]:
        stepper = self._stepper(guided=any(one.guidance != 1 for one in requests))
        return draw(stepper, requests, lambda slots: as_pictures([stepper.partial(slot) for slot in slots]), watch)

    def _stepper(self, guided: bool) -> DenoiseStepper:
        if guided not in self._steppers:
            self._steppers[guided] = DenoiseStepper(self.denoiser, self.slots, guided)
        return self._steppers[guided]


def levels(grid: Grid, about: DiffusionConfig, steps: int) -> tuple[float, ...]:
    """The noise levels of `steps` steps of a schedule, the last one 0."""
    if grid == "karras":
        return tuple(karras_sigmas(steps, float(about.sigma_at(0.0)), KARRAS_FIRST))
    return tuple(about.even_sigmas(steps))


def check_settings(about: Mapping[str, Any]) -> None:
    """Raise UsageError for a setting that no picture can be drawn with."""
    SamplingConfig(**{name: about[name] for name in SETTINGS if name in about})
