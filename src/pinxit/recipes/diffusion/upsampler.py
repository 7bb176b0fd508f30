"""Upsamplers at work: any small picture and its caption to a large one, whoever drew it (Imagen, section 2.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.data.transforms import square, to_pictures, to_tensor
from pinxit.errors import UsageError
from pinxit.functional.guidance import Thresholding
from pinxit.functional.sampling import normals
from pinxit.pipelines.denoise import Conditions, Denoiser, DenoiseRequest, DenoiseStepper
from pinxit.recipes.diffusion.conditions import Captions, Noising
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.painting import Watch, draw, halves

if TYPE_CHECKING:
    from pinxit.text.encoders import TextEncoder
    from pinxit.types import Picture, Ranked

SLOTS = 4


class Upsampler:
    """Enlarges pictures of `low` pixels to `size`, smaller ones by way of what comes `before` it in the cascade.

    Open one with `pinxit.load_upsampler`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        config: StageConfig,
        sampling: SamplingConfig,
        captions: Captions,
        slots: int = SLOTS,
        *,
        noising: Noising | None = None,
        thresholding: Thresholding | None = None,
        before: Upsampler | None = None,
        name: str = "imagen",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """`noising`: of smaller pictures, as in its training (None: Imagen's); `thresholding`: None clips to [-1, 1].

        `name`: its checkpoint's; `provenance`: what else metadata are to tell of it.
        """
        self.denoiser, self.config, self.sampling, self.captions = denoiser, config, sampling, captions
        self.slots, self.noising, self.thresholding = slots, noising or Noising(), thresholding or Thresholding()
        self.low, self.size, self.before = config.low, config.size, before
        self.stage: int = 1 if before is None else before.stage + 1  # of the cascade: each has noise of its own
        self.provenance = {"upsampler": name} | dict(provenance or {})
        self._steppers: dict[bool, DenoiseStepper] = {}

    @property
    def reader(self) -> TextEncoder:
        """Who reads its captions."""
        return self.captions.encoder

    @property
    def facts(self) -> dict[str, Any]:
        """What metadata tell of enlarging: by whom, and by which settings."""
        about = self.sampling
        own = {name: getattr(about, name) for name in ("upsampler_steps", "upsampler_guidance", "augmentation")}
        return {"upscale": self.size, "upsampler_sampler": about.sampler} | own | self.provenance

    @property
    def chain(self) -> list[Upsampler]:
        """All that a picture passes, itself last."""
        return [*(self.before.chain if self.before else ()), self]

    def making(self, size: int) -> Upsampler:
        """The one of its chain that makes pictures of `size` px. Raises UsageError when none does."""
        found = next((one for one in self.chain if one.size == size), None)
        if found is None:
            sizes = " or ".join(str(one.size) for one in self.chain)
            raise UsageError(f"--upscale {size}: this upsampler makes pictures of {sizes} px.")
        return found

    def check_size(self, width: int, height: int) -> None:
        """Raise UsageError for pictures that it cannot enlarge: any square from its chain's lowest to less than `size`.

        Those above what a network takes are brought to it first.
        """
        low = self.chain[0].low
        if not low <= width == height < self.size:
            takes = f"square pictures of at least {low} px and less than {self.size}"
            raise UsageError(f"the upsampler takes {takes}, not {width} x {height}.")

    def enlarge(self, prompt: str, ranked: Sequence[Ranked], watch: Watch | None = None) -> list[Ranked]:
        """The same pictures at `size`, with their seeds, candidates and scores; `watch` hears how far it has come.

        Raises UsageError for a picture that is not square, smaller than `low`, or as large as `size`, and for more
        augmentation than there was in training.
        """
        for one in ranked:
            height, width = one.picture.shape[:2]
            self.check_size(width, height)
        if self.before is not None and any(len(one.picture) < self.low for one in ranked):
            first, watch = (None, None) if watch is None else halves(watch)
            ranked = self._brought(prompt, ranked, first)
        self.config.check_noise(self.sampling.augmentation)
        guided = self.sampling.upsampler_guidance != 1
        if guided not in self._steppers:
            self._steppers[guided] = DenoiseStepper(self.denoiser, self.slots, guided)
        stepper = self._steppers[guided]

        def preview(slots: Iterable[int]) -> list[Picture]:
            return as_pictures([stepper.partial(slot) for slot in slots])

        pictures = as_pictures(draw(stepper, self._requests(prompt, ranked), preview, watch))
        return [replace(one, picture=picture) for one, picture in zip(ranked, pictures, strict=True)]

    def _brought(self, prompt: str, ranked: Sequence[Ranked], watch: Watch | None) -> list[Ranked]:
        """The same, those that are too small for this network enlarged by the one before it."""
        assert self.before is not None
        small = [one for one in ranked if len(one.picture) < self.low]
        large = iter(self.before.enlarge(prompt, small, watch))
        return [next(large) if len(one.picture) < self.low else one for one in ranked]

    def _requests(self, prompt: str, ranked: Sequence[Ranked]) -> list[DenoiseRequest]:
        (conditions, null), about, config = self.captions(prompt), self.sampling, self.config
        sigmas = tuple(config.diffusion.even_sigmas(about.upsampler_steps))
        return [
            DenoiseRequest(
                config.taken({**low, **conditions}),
                config.taken({**low, **null}),
                sigmas,
                about.sampler,
                one.seed,
                one.candidate,
                self.stage,
                about.upsampler_guidance,
                self.thresholding,
            )
            for one, low in zip(ranked, map(self._smaller, ranked), strict=True)
        ]

    def _smaller(self, one: Ranked) -> Conditions:
        """The picture and its noise level, from noise of its own."""
        small = to_tensor(square(one.picture, self.low, "area")[None]) * 2 - 1
        noise = next(normals(one.seed, one.candidate, -self.stage, (3, self.size, self.size)))
        level = torch.full((1,), self.sampling.augmentation)
        return {name: rows[0] for name, rows in self.noising(small, level, noise[None]).items()}


def as_pictures(found: Sequence[Tensor]) -> list[Picture]:
    """What steppers give, [3, S, S] in [-1, 1] each, as pictures."""
    return list(to_pictures((torch.stack(list(found)).cpu() + 1) / 2)) if found else []
