"""The parts of every diffusion recipe's config, checked for values that do not fit each other.

Mistakes are found here, before hours of rendering pictures and encoding captions, rather than when a network is called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from pinxit.data.writing_systems import Script
from pinxit.errors import UsageError
from pinxit.functional.guidance import Thresholding
from pinxit.functional.samplers import check_from_noise
from pinxit.models.text import TextTransformerConfig
from pinxit.models.unet import UNetConfig
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.schema import Count, NotNegative, Several, Share, Strength, Whole, check_fields
from pinxit.training.plan import Plan
from pinxit.world.vocabulary import Names

if TYPE_CHECKING:
    from torch import Tensor

Grid = Literal["even", "karras"]
Corrupt = Literal["noise", "blur", "bsr"]
Manner = Literal["own", "deepfloyd"]

MOST_STEPS = 1000  # of sampling, as many as the published schedules have
RGB = 3
STRANGE = (AttributeError, KeyError, TypeError, ValueError)  # what JSON raises that is not what was expected
Steps = Annotated[int, Meta(ge=1, le=MOST_STEPS)]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which pictures and captions it is trained on."""

    source: str = "world:small"  # as `pinxit train --data` takes it: a world, a folder, tar shards
    stream: bool = False  # tar shards are read during training, from a path or a URL, and no picture is stored
    sidecars: str = ""  # with stream: the folder where `pinxit data encode` put the encoded captions; "": in the run
    names: Names = "usual"  # of things in a world's captions: "many" uses synonyms, for words never trained on
    script: Script = "latin"  # which captions are used: in Latin letters, or all, if the text encoder knows more


@dataclass(frozen=True, slots=True)
class TextEncoderConfig:
    """The text encoder, and how captions are given to it."""

    encoder: str = "minilm"  # the packaged all-MiniLM-L6-v2, a folder in the transformers layout, or hub:OWNER/NAME
    learned: TextTransformerConfig | None = None  # instead: an encoder trained with the base, on our own tokens
    length: Several = 128  # tokens, with those that mark the text's begin and end
    spell: bool = False  # quoted words and words in capitals, to be written in a picture, are tokenised by letters
    manner: Manner = "own"  # deepfloyd: captions are cleaned, and networks also see the encoder's output at pads
    stored: Whole = 0  # how many captions of each picture are encoded before training; 0: encoded during training
    drop: Share = 0.1  # probability that a stage sees no caption, for guidance (section 4.1)
    noise: NotNegative = 0.0  # most noise that training adds to a caption's vectors, as a multiple of their size

    def __post_init__(self) -> None:
        if self.learned is not None and self.manner != "own":
            raise UsageError(f"text.manner={self.manner} is of a frozen text encoder, and this one is learned.")
        if self.learned is not None and self.stored:
            raise UsageError("text.stored must be 0 where the text encoder is learned: what it says changes.")
        check_fields(self, "text")


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One network of the cascade."""

    size: Count  # side of its pictures in pixels
    unet: UNetConfig
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    low: Whole = 0  # side of the smaller picture that it enlarges; 0: a base, which enlarges none
    crop: Whole = 0  # side of the crops it is trained on; 0: whole pictures
    max_augmentation: Share = 1.0  # highest noise level of its smaller pictures in training (section 2.4)
    noised: Whole = 0  # as DeepFloyd IF: that noise has so many discrete steps, and corners are aligned; 0: as Imagen
    corrupt: Corrupt = "noise"  # of its smaller pictures in training; blur, bsr: unCLIP's, which is not a condition

    def __post_init__(self) -> None:
        check_fields(self, "")
        if self.low and not (self.low < self.size and self.size % self.low == 0):
            raise UsageError(f"an upsampler's size={self.size} must be a multiple of low={self.low}, and more than it.")
        if self.crop > self.size or (self.low and self.crop % self.scale):
            raise UsageError(f"crop={self.crop} must be at most size={self.size} and a multiple of size / low.")
        if self.noised and (self.crop or not self.low or self.corrupt != "noise"):
            raise UsageError(f"noised={self.noised} is of an upsampler's whole pictures: set crop=0 and corrupt=noise.")
        if self.corrupt == "bsr" and (self.train_size // self.scale) % 8:
            needed = f"{8 * self.scale}, as it rounds blocks of 8 of the smaller picture's pixels"
            raise UsageError(f"corrupt=bsr needs pictures, or crops, with a side that is a multiple of {needed}.")
        self._check_unet()

    def _check_unet(self) -> None:
        for name, side in (("size", self.size), ("crop", self.train_size)):
            if side % self.unet.step:
                step = f"{self.unet.step}, which its unet divides by"
                problem = f"{self._kind}'s {name}={side} must be a multiple of {step}"
                raise UsageError(f"{problem}: change it, or unet.patch and unet.channels.")
        noised = bool(self.low) and self.corrupt == "noise"
        if (self.unet.low_res, self.unet.augmentation) != (RGB if self.low else 0, noised):
            expected = (
                f"unet.low_res={RGB} and unet.augmentation={str(noised).lower()}" if self.low else "them 0 and false"
            )
            found = f"unet.low_res={self.unet.low_res} and unet.augmentation={str(self.unet.augmentation).lower()}"
            blurred = f", corrupt={self.corrupt}" if self.low and not noised else ""
            raise UsageError(f"{self._kind} (low={self.low}{blurred}) cannot have {found}: make {expected}.")
        answers = 2 * RGB if self.diffusion.variance == "learned" else RGB
        for name, channels in (("inputs", RGB), ("outputs", answers)):
            if getattr(self.unet, name) != channels:
                why = "a picture's colours" if channels == RGB else "a picture's colours and their learned variance"
                raise UsageError(f"{self._kind}'s unet.{name}={getattr(self.unet, name)} must be {channels}, {why}.")

    def check_augmentation(self, augmentation: float) -> None:
        """Raise UsageError for more noise on the smaller picture than there was in training."""
        if self.corrupt == "noise" and augmentation > self.max_augmentation:
            raise UsageError(
                f"augmentation={augmentation} is more noise than this upsampler has learned on; take at most "
                f"{self.max_augmentation}."
            )

    def accepted(self, conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of `conditions` that its network takes: an unconditional upsampler takes no text."""
        known = self.unet.conditions()
        return {name: tensor for name, tensor in conditions.items() if name in known}

    @property
    def _kind(self) -> str:
        return "an upsampler" if self.low else "a base"

    @property
    def scale(self) -> int:
        """Side of its pictures over side of the smaller ones; 1 for a base."""
        return self.size // self.low if self.low else 1

    @property
    def train_size(self) -> int:
        """The side of its training pictures or crops."""
        return self.crop or self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(StageConfig):
    """A network of the cascade as a run trains it."""

    name: str  # its folder in the run and its part in the checkpoint
    plan: Plan
    pictures: Count = 20_000  # stored for it, at its size

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        if self.corrupt != "noise" and not self.low:
            raise UsageError(f"corrupt={self.corrupt} is of an upsampler's smaller pictures, and a base has none.")
        if self.unet.pooled:
            problem = f"{self._kind}'s unet.pooled={self.unet.pooled} must be 0"
            raise UsageError(f"{problem}: training gives a network the text, but no embedding of it.")

    @property
    def network(self) -> StageConfig:
        """The part that a checkpoint stores: without name, plan and count of pictures."""
        return StageConfig(**{one.name: getattr(self, one.name) for one in fields(StageConfig)})


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """The painter's default settings, stored in the checkpoint."""

    sampler: str = "ddim"
    steps: Steps = 25  # of the base
    grid: Grid = "even"  # where its steps fall: evenly in time, or denser at low noise (EDM)
    spacing: str = ""  # instead of steps, of a discrete schedule: timesteps by name or section (smart100; 10,10,3,2,2)
    guidance: Strength = 4.0  # classifier-free guidance of the base
    percentile: Share = 0.995  # of dynamic thresholding (section 2.3); 0: static thresholding
    max_threshold: NotNegative = 0.0  # largest value that dynamic thresholding divides by; 0: no limit
    clip_guidance: Strength = 0.0  # step of each prediction towards its CLIP embedding (`functional.clip_guidance`)
    agreement: Strength = 0.0  # weight, in the ranking, of a candidate's similarity to the others
    upsampler_steps: Steps = 10  # of each upsampler
    upsampler_guidance: Strength = 1.0
    augmentation: Share = 0.2  # noise on the smaller picture (section 2.4)

    def __post_init__(self) -> None:
        check_from_noise(self.sampler)
        check_fields(self, "")
        if 0 < self.max_threshold < 1:
            raise UsageError(f"max_threshold must be 0 or at least 1, not {self.max_threshold}.")

    def check_schedules(self, base: StageConfig, upsamplers: Sequence[StageConfig]) -> None:
        """Raise UsageError for steps, a spacing or a grid that the schedules of the cascade's networks do not have."""
        discrete = base.diffusion.steps
        if self.spacing and not discrete:
            raise UsageError("sampling.spacing names timesteps, and the base's schedule is continuous: set it to ''.")
        if discrete and self.grid != "even":
            raise UsageError(f"sampling.grid={self.grid} is of a continuous schedule, and the base's is discrete.")
        if self.spacing:
            base.diffusion.spaced_sigmas(self.spacing)
        else:
            base.diffusion.check_steps("sampling.steps", self.steps)
        for one in upsamplers:
            one.diffusion.check_steps("sampling.upsampler_steps", self.upsampler_steps)

    def thresholding(self, percentile: float) -> Thresholding:
        """The thresholding of the base's predictions at a `percentile` (0: static)."""
        return Thresholding.of(percentile, self.max_threshold or math.inf)


def forget_refused(sampling: dict[str, Any], base: dict[str, Any], *upsamplers: dict[str, Any]) -> None:
    """Change in the JSON of a run what older versions took, although it had no effect or nothing was painted by it.

    The run goes on as it began: none of it is a matter of training. Raises one of `STRANGE` for JSON of another form.
    """
    base["corrupt"] = "noise"
    if steps := base["diffusion"]["steps"]:
        sampling |= {"grid": "even", "steps": min(sampling["steps"], steps)}
    for one in upsamplers:
        if steps := one["diffusion"]["steps"]:
            sampling["upsampler_steps"] = min(sampling["upsampler_steps"], steps)
