"""DeepFloyd IF's stage II: a picture of 64 px and its caption to one of 256, whoever drew it."""

from __future__ import annotations

from torch import Tensor

from pinxit.data.transforms import square, to_tensor
from pinxit.errors import UsageError
from pinxit.functional.sampling import normals
from pinxit.pipelines.denoise import DenoiseRequest
from pinxit.recipes.deepfloyd.denoiser import LearnedRangeDenoiser
from pinxit.recipes.deepfloyd.reading import CaptionReader, enlarged
from pinxit.recipes.deepfloyd.schedule import NoiseSchedule
from pinxit.recipes.imagen.presets import SamplingConfig, StageConfig
from pinxit.recipes.imagen.upsampler import SLOTS, STAGE, Upsampler
from pinxit.types import Ranked

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
    ) -> None:
        """`schedule` is walked down; `noising` noises what is enlarged."""
        size = denoiser.shape[1]
        config = StageConfig(size, denoiser.unet.config, denoiser.config, low=size // SCALE)
        sampling = sampling or SamplingConfig(
            "ancestral", upsampler_steps=STEPS, upsampler_guidance=GUIDANCE, augmentation=LEVEL
        )
        super().__init__(denoiser, config, sampling, reader.encoder, slots)
        self.schedule, self.noising, self.read = schedule, noising, reader

    def _request(self, prompt: str, one: Ranked) -> DenoiseRequest:
        about, smaller = self.sampling, self._smaller(one)
        return DenoiseRequest(
            smaller | self.read(prompt),
            smaller | self.read.null,
            self.schedule.sigmas(about.upsampler_steps),
            about.sampler,
            one.seed,
            one.candidate,
            STAGE,
            about.upsampler_guidance,
            self.schedule.thresholding,
        )

    def _smaller(self, one: Ranked) -> dict[str, Tensor]:
        """The picture and its noise level, from noise of its own."""
        height, width = one.picture.shape[:2]
        if height != width:
            raise UsageError(f"the upsampler takes square pictures of {self.low} px, not {width} x {height}.")
        small = to_tensor(square(one.picture, self.low, "area")[None])[0] * 2 - 1
        noise = next(normals(one.seed, one.candidate, -STAGE, (3, self.size, self.size)))
        level = min(round(self.sampling.augmentation * self.noising.T), self.noising.T - 1)
        return enlarged(small, level, noise, self.noising)
