"""What every recipe that denoises is configured by, refused in one sentence where its parts do not fit.

What is wrong is found here, before hours of drawing and reading, or not until a network is asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from pinxit.data.writing_systems import Script
from pinxit.errors import UsageError
from pinxit.functional.guidance import Thresholding
from pinxit.functional.samplers import FROM_NOISE
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

MOST_STEPS = 1000  # of a walk, as many as the schedules that diffusion models are published with
RGB = 3
Steps = Annotated[int, Meta(ge=1, le=MOST_STEPS)]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which pictures."""

    source: str = "world:small"  # as `pinxit train --data` takes it: a world, a folder, tar shards
    stream: bool = False  # tar shards are read as training goes, from a path or a URL, and no picture is stored
    sidecars: str = ""  # where their captions lie as `pinxit data encode` has read them; "": in the run
    names: Names = "usual"  # of a world's things in its captions: "many" teaches what held-out nouns may mean
    script: Script = "latin"  # captions that are read: those in Latin letters, or all where the reader knows more


@dataclass(frozen=True, slots=True)
class TextEncoderConfig:
    """Who reads the captions, and how much of them."""

    encoder: str = "minilm"  # the packaged all-MiniLM-L6-v2, a folder in the transformers layout, hub:OWNER/NAME, or:
    learned: TextTransformerConfig | None = None  # one trained with the base, on our own tokens, instead
    length: Several = 128  # tokens: readers begin and end a text with some of their own
    spell: bool = False  # words to be written in a picture are read letter by letter
    manner: Manner = "own"  # deepfloyd: captions are cleaned first, and what the reader says at pads is read, too
    stored: Whole = 0  # captions of a picture that are read before training and kept on disk; 0: read as training goes
    drop: Share = 0.1  # chance that a stage sees no caption, for guidance (section 4.1)
    noise: NotNegative = 0.0  # most noise that training adds to the vectors of a caption, in their own size

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
    low: Whole = 0  # side of the smaller picture that it enlarges; 0: it draws from nothing
    crop: Whole = 0  # side of the squares it is trained on; 0: whole pictures
    max_augmentation: Share = 1.0  # highest level of noise that its smaller pictures have in training (section 2.4)
    noised: Whole = 0  # steps of that noise, over pictures enlarged with aligned corners (DeepFloyd IF); 0: Imagen's
    corrupt: Corrupt = "noise"  # of its smaller pictures in training; blur, bsr: unCLIP's, of which no net is told

    def __post_init__(self) -> None:
        check_fields(self, "")
        if self.low and not (self.low < self.size and self.size % self.low == 0):
            raise UsageError(f"an upsampler's size={self.size} must be a multiple of low={self.low}, and more than it.")
        if self.crop > self.size or (self.low and self.crop % self.scale):
            raise UsageError(f"crop={self.crop} must be at most size={self.size} and a multiple of size / low.")
        if self.noised and (self.crop or not self.low or self.corrupt != "noise"):
            raise UsageError(f"noised={self.noised} is of an upsampler's whole pictures: set crop=0 and corrupt=noise.")
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
        """Raise UsageError for a smaller picture that is noisier than any that training showed."""
        if self.corrupt == "noise" and augmentation > self.max_augmentation:
            raise UsageError(
                f"augmentation={augmentation} is more noise than this upsampler has learned on; take at most "
                f"{self.max_augmentation}."
            )

    def accepted(self, conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of these conditions those that its network takes: an unconditional upsampler takes no text."""
        known = self.unet.conditions()
        return {name: tensor for name, tensor in conditions.items() if name in known}

    @property
    def _kind(self) -> str:
        return "an upsampler" if self.low else "a base"

    @property
    def scale(self) -> int:
        """How many times larger its pictures are than those it is given."""
        return self.size // self.low if self.low else 1

    @property
    def train_size(self) -> int:
        """The side of the squares that training sees."""
        return self.crop or self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(StageConfig):
    """A network of the cascade as a run trains it."""

    name: str  # its folder in the run and its part in the checkpoint
    plan: Plan
    pictures: Count = 20_000  # stored for it, at its size

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        if self.unet.pooled:
            problem = f"{self._kind}'s unet.pooled={self.unet.pooled} must be 0"
            raise UsageError(f"{problem}: training tells a network its text alone, and no embedding of it.")

    @property
    def network(self) -> StageConfig:
        """What a checkpoint keeps of it."""
        return StageConfig(**{one.name: getattr(self, one.name) for one in fields(StageConfig)})


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How pictures are drawn where nobody says otherwise; the checkpoint keeps it."""

    sampler: str = "ddim"
    steps: Steps = 25  # of the base
    grid: Grid = "even"  # where its steps fall: evenly in time, or closer where it is clean (EDM)
    spacing: str = ""  # instead of steps, of a discrete schedule: timesteps by name or section (smart100; 10,10,3,2,2)
    guidance: Strength = 4.0  # classifier-free, of the base
    percentile: Share = 0.995  # dynamic thresholding (section 2.3); 0: static
    max_threshold: NotNegative = 0.0  # of dynamic thresholding, which divides by it; 0: any
    agreement: Strength = 0.0  # how much likeness to the other candidates counts in the ranking
    upsampler_steps: Steps = 10  # of each upsampler
    upsampler_guidance: Strength = 1.0
    augmentation: Share = 0.2  # noise on the smaller picture (section 2.4)

    def __post_init__(self) -> None:
        if self.sampler not in FROM_NOISE:
            raise UsageError(f"there is no sampler '{self.sampler}'; choose from {', '.join(FROM_NOISE)}.")
        check_fields(self, "")
        if 0 < self.max_threshold < 1:
            raise UsageError(f"max_threshold must be 0 or at least 1, not {self.max_threshold}.")

    def thresholding(self, percentile: float) -> Thresholding:
        """Of the base's predictions, at its own percentile or another."""
        return Thresholding.of(percentile, self.max_threshold or math.inf)
