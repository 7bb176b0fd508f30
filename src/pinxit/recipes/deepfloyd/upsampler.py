"""DeepFloyd IF's stage II: a picture of 64 px and its caption to one of 256, whoever drew it."""

from __future__ import annotations

from torch import Tensor

from pinxit.pipelines.denoise import Conditions
from pinxit.recipes.deepfloyd.denoiser import LearnedRangeDenoiser
from pinxit.recipes.deepfloyd.reading import CaptionReader, enlarged
from pinxit.recipes.deepfloyd.schedule import NoiseSchedule
from pinxit.recipes.imagen.config import SamplingConfig, StageConfig
from pinxit.recipes.imagen.upsampler import SLOTS, Upsampler

SCALE = 4  # how many times larger its pictures are
STEPS, GUIDANCE, LEVEL = 50, 4.0, 0.25  # the published sampler's; LEVEL: of the noise on the smaller picture


class DeepFloydUpsampler(Upsampler):
    """A loaded stage II. Open one with `recipes.deepfloyd.open.open_upsampler`."""

    def __init__(
        self,
        denoiser: LearnedRangeDenoiser,
        schedule: NoiseSchedule,
        noising: NoiseSchedule,
        reader: CaptionReader,
        sampling: SamplingConfig | None = None,
        slots: int = SLOTS,
        name: str = "deepfloyd",
    ) -> None:
        """`schedule` is walked down; `noising` noises what is enlarged."""
        size = denoiser.shape[1]
        config = StageConfig(size, denoiser.unet.config, denoiser.config, low=size // SCALE)
        sampling = sampling or SamplingConfig(
            "ancestral", upsampler_steps=STEPS, upsampler_guidance=GUIDANCE, augmentation=LEVEL
        )
        super().__init__(denoiser, config, sampling, reader.encoder, slots, name=name)
        self.schedule, self.noising, self.read = schedule, noising, reader
        self.thresholding = schedule.thresholding

    def _told(self, prompt: str) -> tuple[Conditions, Conditions]:
        return self.read(prompt), self.read.null

    def _sigmas(self) -> tuple[float, ...]:
        return self.schedule.sigmas(self.sampling.upsampler_steps)

    def _noised(self, small: Tensor, noise: Tensor) -> Conditions:
        level = min(round(self.sampling.augmentation * self.noising.T), self.noising.T - 1)
        return enlarged(small, level, noise, self.noising)
