"""Everything that a run of `pinxit train imagen` depends on, refused in one sentence where its parts do not fit.

What is wrong is found here, before hours of drawing and reading, or not until a network is asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Integral, Real
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from pinxit.data.scripts import Script
from pinxit.data.world.vocabulary import Names
from pinxit.errors import UsageError
from pinxit.functional.samplers import SAMPLERS
from pinxit.models.text import TextTransformerConfig
from pinxit.models.unet import UNetConfig
from pinxit.recipes.imagen.denoiser import DiffusionConfig
from pinxit.schema import Count, NotNegative, Seed, Several, Share, Whole, check_fields
from pinxit.training.plan import Plan
from pinxit.weights.checkpoint import Store

Grid = Literal["even", "karras"]

CASCADE = ("base", "upsampler", "second_upsampler")
"""The networks in the order in which a picture passes them; a config may end before the last."""
MOST_STEPS = 1000  # of a walk, as many as the schedules that diffusion models are published with
RGB = 3
Steps = Annotated[int, Meta(ge=1, le=MOST_STEPS)]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which pictures."""

    source: str = "world:small"  # as `pinxit train --data` takes it: a world, a folder, tar shards
    pictures: Count = 200_000  # stored for the base, at its size
    large: Count = 20_000  # stored for the upsampler, at its size
    largest: Count = 20_000  # stored for the second upsampler, where there is one
    names: Names = "usual"  # of a world's things in its captions: "many" teaches what unheard ones may mean
    script: Script = "latin"  # captions that are read: those in Latin letters, or all where the reader knows more


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Who reads the captions, and how much of them."""

    encoder: str = "minilm"  # the packaged all-MiniLM-L6-v2, a folder in the transformers layout, hub:OWNER/NAME, or:
    learned: TextTransformerConfig | None = None  # one trained with the base, on our own tokens, instead
    length: Several = 128  # tokens: readers begin and end a text with some of their own
    stored: Whole = 0  # captions of a picture that are read before training and kept on disk; 0: read as training goes
    drop: Share = 0.1  # chance that a stage sees no caption, for guidance (section 4.1)
    noise: NotNegative = 0.0  # most noise that training adds to the vectors of a caption, in their own size

    def __post_init__(self) -> None:
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
    noisiest: Share = 1.0  # highest level of noise that its smaller pictures have in training (section 2.4)

    def __post_init__(self) -> None:
        if self.low and not (0 < self.low < self.size and self.size % self.low == 0):
            raise UsageError(f"an upsampler's size={self.size} must be a multiple of low={self.low}, and more than it.")
        if self.crop > self.size or (self.low and self.crop % self.scale):
            raise UsageError(f"crop={self.crop} must be at most size={self.size} and a multiple of size / low.")
        self._check_unet()

    def _check_unet(self) -> None:
        for name, side in (("size", self.size), ("crop", self.seen)):
            if side % self.unet.step:
                told = f"{self._kind}'s {name}={side} must be a multiple of {self.unet.step}, which its unet divides by"
                raise UsageError(f"{told}: change it, or unet.patch and unet.channels.")
        if (self.unet.low_res, self.unet.augmentation) != ((RGB, True) if self.low else (0, False)):
            wanted = f"unet.low_res={RGB} and unet.augmentation=true" if self.low else "them 0 and false"
            found = f"unet.low_res={self.unet.low_res} and unet.augmentation={str(self.unet.augmentation).lower()}"
            raise UsageError(f"{self._kind} (low={self.low}) cannot have {found}: make {wanted}.")

    def check_noise(self, augmentation: float) -> None:
        """Raise UsageError for a smaller picture that is noisier than any that training showed."""
        if augmentation > self.noisiest:
            raise UsageError(
                f"augmentation={augmentation} is more noise than this upsampler has learned on; take at most "
                f"{self.noisiest}."
            )

    @property
    def _kind(self) -> str:
        return "an upsampler" if self.low else "a base"

    @property
    def scale(self) -> int:
        """How many times larger its pictures are than those it is given."""
        return self.size // self.low if self.low else 1

    @property
    def seen(self) -> int:
        """The side of the squares that training sees."""
        return self.crop or self.size


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How pictures are drawn where nobody says otherwise; the checkpoint keeps it."""

    sampler: str = "ddim"
    steps: Steps = 25  # of the base
    grid: Grid = "even"  # where its steps fall: evenly in time, or closer where it is clean (EDM)
    guidance: NotNegative = 4.0  # classifier-free, of the base
    percentile: Share = 0.995  # dynamic thresholding (section 2.3); 0: static
    agreement: NotNegative = 0.0  # how much likeness to the other candidates counts in the ranking
    upsampler_steps: Steps = 10  # of each upsampler
    upsampler_guidance: NotNegative = 1.0
    augmentation: Share = 0.2  # noise on the smaller picture (section 2.4)

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise UsageError(f"there is no sampler '{self.sampler}'; choose from {', '.join(SAMPLERS)}.")
        if self.grid not in get_args(Grid):
            raise UsageError(f"there is no grid '{self.grid}'; choose from {', '.join(get_args(Grid))}.")
        check_fields(self, "")


def check_number(name: str, value: Any, low: float, high: float = math.inf, whole: bool = False) -> None:
    """Raise UsageError unless `value` is a finite number from `low` to `high`."""
    kind: Any = Integral if whole else Real
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{name} must be a {'whole ' if whole else ''}number, not {value}.")
    if not (low <= value <= high and value < math.inf):
        limits = f"from {low} to {high}" if high < math.inf else f"at least {low}{'' if whole else ' and finite'}"
        raise UsageError(f"{name} must be {limits}, not {value}.")


@dataclass(frozen=True, slots=True)
class Plans:
    """How long each stage is trained."""

    base: Plan
    upsampler: Plan
    second_upsampler: Plan | None = None


@dataclass(frozen=True, slots=True)
class ImagenConfig:
    """Everything that a run of `pinxit train imagen` depends on."""

    data: DataConfig
    text: TextConfig
    base: StageConfig
    upsampler: StageConfig
    plans: Plans
    second_upsampler: StageConfig | None = None  # enlarges what the upsampler makes; None: the cascade ends there
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    ranker: str = "tiny"  # whose CLIP ranks the candidates
    store: Store = "bf16"  # of the checkpoint's weights: bf16, or int8 in half the space
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.base.low:
            raise UsageError(f"base.low={self.base.low} must be 0: the base draws from nothing.")
        if (self.second_upsampler is None) != (self.plans.second_upsampler is None):
            raise UsageError("second_upsampler and plans.second_upsampler must be given together.")
        for before, name in pairwise(self.cascade):
            small, large = self.network(before), self.network(name)
            if large.low != small.size:
                raise UsageError(f"{name}.low={large.low} must equal {before}.size={small.size}: set both.")
            large.check_noise(self.sampling.augmentation)
        for name in self.cascade:
            unet = self.network(name).unet
            for side in ("inputs", "outputs"):
                if getattr(unet, side) != RGB:  # a learned variance is painted with (DeepFloyd IF), not trained
                    raise UsageError(f"{name}.unet.{side}={getattr(unet, side)} must be {RGB}, a picture's colours.")
        if self.text.learned is not None and self.text.learned.tokens < self.text.length:
            raise UsageError(f"text.learned.tokens must be at least text.length={self.text.length}.")

    @property
    def cascade(self) -> tuple[str, ...]:
        """The names of its networks, in the order in which a picture passes them."""
        return tuple(name for name in CASCADE if getattr(self, name) is not None)

    def network(self, name: str) -> StageConfig:
        """The network called `name`, one of `cascade`."""
        found: StageConfig = getattr(self, name)
        return found
