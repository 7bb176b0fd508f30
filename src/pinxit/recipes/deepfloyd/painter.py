"""DeepFloyd IF's stage I paints: text -> frozen T5 -> 64 px out of noise, through the same machine as Imagen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinxit.functional.guidance import Thresholding
from pinxit.pipelines.denoise import Conditions
from pinxit.recipes.deepfloyd.captions import clean_caption
from pinxit.recipes.deepfloyd.denoiser import LearnedRangeDenoiser
from pinxit.recipes.deepfloyd.reading import CaptionReader
from pinxit.recipes.deepfloyd.schedule import NoiseSchedule
from pinxit.recipes.deepfloyd.upsampler import DeepFloydUpsampler
from pinxit.recipes.imagen.config import SamplingConfig, StageConfig
from pinxit.recipes.imagen.painter import ImagenPainter
from pinxit.recipes.painting import Ranker

SLOTS = 4
STEPS, GUIDANCE = 100, 7.0  # the published sampler's


class DeepFloydPainter(ImagenPainter):
    """A loaded stage I, perhaps with stage II behind it. Open one with `recipes.deepfloyd.open.open_painter`.

    Settings: guidance (1: none), steps, sampler, percentile, and spacing, which names the timesteps instead of steps
    ("smart100", "10,10,3,2,2"; "": equal strides).
    """

    def __init__(
        self,
        denoiser: LearnedRangeDenoiser,
        schedule: NoiseSchedule,
        reader: CaptionReader,
        ranker: Ranker,
        upsampler: DeepFloydUpsampler | None = None,
        *,
        name: str = "deepfloyd",
        provenance: dict[str, Any] | None = None,
        slots: int = SLOTS,
    ) -> None:
        about = schedule.thresholding
        percentile = about.percentile if about.kind == "dynamic" else 0.0
        sampling = SamplingConfig("ancestral", STEPS, guidance=GUIDANCE, percentile=percentile)
        config = StageConfig(denoiser.shape[1], denoiser.unet.config, denoiser.config)
        super().__init__(
            denoiser,
            config,
            sampling,
            reader.encoder,
            ranker,
            upsampler,
            name=name,
            provenance={"recipe": "deepfloyd"} | (provenance or {}),
            slots=slots,
        )
        self.schedule, self.read = schedule, reader
        del self.defaults["grid"]  # its timesteps are those of the discrete schedule
        self.defaults["spacing"] = ""

    def told(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What metadata tell of settings: a spacing names its own timesteps, so that `steps` mean nothing."""
        overruled = "steps" if settings["spacing"] else "spacing"
        return {name: value for name, value in settings.items() if name != overruled}

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the cleaned prompt will be dropped; 0 when it fits."""
        return self.reader.tokens_over_limit(clean_caption(text))

    def _told(self, text: str) -> tuple[Conditions, Conditions]:
        return self.read(text), self.read.null

    def _sigmas(self, settings: dict[str, Any]) -> tuple[float, ...]:
        return self.schedule.sigmas(settings["steps"], settings["spacing"])

    def _thresholding(self, settings: dict[str, Any]) -> Thresholding:
        return Thresholding.of(settings["percentile"], self.schedule.thresholding.most)
