"""The upsampler at work: any picture of 64 px and its caption to one of 256, whoever drew it (Imagen, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pinxit.data.transforms import square, to_pictures, to_tensor
from pinxit.errors import UsageError
from pinxit.functional.sampling import normals
from pinxit.pipelines.denoise import Conditions, Denoiser, DenoiseRequest, DenoiseStepper, Thresholding
from pinxit.pipelines.stepper import run
from pinxit.recipes.imagen.conditions import smaller, told
from pinxit.recipes.imagen.config import SamplingConfig, StageConfig

if TYPE_CHECKING:
    from pinxit.text.encoders import TextEncoder
    from pinxit.types import Picture, Ranked

STAGE = 1  # of the cascade: its noise is not the base's
SLOTS = 4


class Upsampler:
    """Enlarges pictures of `low` pixels to `size`. Open one with `pinxit.load_upsampler`."""

    def __init__(
        self,
        denoiser: Denoiser,
        config: StageConfig,
        sampling: SamplingConfig,
        reader: TextEncoder,
        slots: int = SLOTS,
    ) -> None:
        self.denoiser, self.config, self.sampling, self.reader = denoiser, config, sampling, reader
        self.slots, self.thresholding = slots, Thresholding()
        self.low, self.size = config.low, config.size
        self._steppers: dict[bool, DenoiseStepper] = {}

    def enlarge(self, prompt: str, ranked: Sequence[Ranked]) -> list[Ranked]:
        """The same pictures at `size`, with their seeds, candidates and scores.

        A picture of another size is brought to `low` first. Raises UsageError for one that is not square.
        """
        guided = self.sampling.upsampler_guidance != 1
        if guided not in self._steppers:
            self._steppers[guided] = DenoiseStepper(self.denoiser, self.slots, guided)
        found = run(self._steppers[guided], self._requests(prompt, ranked))
        pictures: Sequence[Picture] = list(to_pictures((torch.stack(found).cpu() + 1) / 2)) if found else []
        return [replace(one, picture=picture) for one, picture in zip(ranked, pictures, strict=True)]

    def _requests(self, prompt: str, ranked: Sequence[Ranked]) -> list[DenoiseRequest]:
        (conditions, null), sigmas, about = self._told(prompt), self._sigmas(), self.sampling
        return [
            DenoiseRequest(
                {**low, **conditions},
                {**low, **null},
                sigmas,
                about.sampler,
                one.seed,
                one.candidate,
                STAGE,
                about.upsampler_guidance,
                self.thresholding,
            )
            for one, low in zip(ranked, map(self._smaller, ranked), strict=True)
        ]

    def _smaller(self, one: Ranked) -> Conditions:
        """The picture and its noise level, from noise of its own."""
        height, width = one.picture.shape[:2]
        if height != width:
            raise UsageError(f"the upsampler takes square pictures of {self.low} px, not {width} x {height}.")
        small = to_tensor(square(one.picture, self.low, "area")[None])[0] * 2 - 1
        return self._noised(small, next(normals(one.seed, one.candidate, -STAGE, (3, self.size, self.size))))

    def _told(self, prompt: str) -> tuple[Conditions, Conditions]:
        """What the network is given of a text, and of none."""
        return told(self.reader, prompt)

    def _sigmas(self) -> tuple[float, ...]:
        """What a sampler walks down, the last one 0."""
        return tuple(self.config.diffusion.even_sigmas(self.sampling.upsampler_steps))

    def _noised(self, small: Tensor, noise: Tensor) -> Conditions:
        """What the network is given of a picture [3, s, s] in [-1, 1]; `noise` [3, S, S] has the large shape."""
        level = torch.full((1,), self.sampling.augmentation)
        return {name: rows[0] for name, rows in smaller(small[None], level, noise[None]).items()}
