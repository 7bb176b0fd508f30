"""The config of a run of `pinxit train unclip`; parts that do not fit each other are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any

from msgspec import Meta

from pinxit.errors import UsageError
from pinxit.functional.holes import WHOLE
from pinxit.functional.samplers import check_from_noise
from pinxit.models.prior import PriorConfig
from pinxit.recipes.diffusion.config import (
    STRANGE,
    DataConfig,
    SamplingConfig,
    Stage,
    Steps,
    TextEncoderConfig,
    forget_refused,
)
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.unclip.space import SpaceConfig
from pinxit.schema import NotNegative, Positive, Seed, Share, check_fields
from pinxit.training.plan import Plan
from pinxit.weights.checkpoint import Store

DECODER, SPACE = "decoder", "space"
NAME = re.compile(r"[a-z][a-z0-9_]*")  # of a prior or an upsampler
NONE = "none"  # no prior: the caption's embedding in place of the picture's
RESERVED = ("pictures", "seen", "texts", "vectors", "checkpoint", SPACE, DECODER, NONE)
"""Names that no prior or upsampler may have: folders of a run, parts of a checkpoint, and NONE."""
SHARED_FIELDS = ("components", "embed", "buckets", "dots")  # fields that a prior and its space share
Tries = Annotated[int, Meta(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class PriorParts:
    """A prior, as a checkpoint stores it."""

    network: PriorConfig = field(default_factory=PriorConfig)
    diffusion: DiffusionConfig = field(default_factory=lambda: DiffusionConfig("x0"))  # only for diffusion priors


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorStage(PriorParts):
    """A prior, as a run trains it."""

    name: str  # its folder in the run and its part in the checkpoint
    plan: Plan  # with 0 images the prior is left out
    drop: Share = 0.1  # probability of training without the caption, for guidance (section 2.2)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name in RESERVED:
            raise UsageError(
                f"priors: '{self.name}' cannot name a prior; use lower-case letters, and no folder's name."
            )
        check_fields(self, f"priors.{self.name}")
        if self.diffusion.variance != "fixed":
            raise UsageError(f"priors.{self.name}.diffusion.variance must be fixed: a prior predicts no variance.")

    @property
    def parts(self) -> PriorParts:
        """What a checkpoint stores of it."""
        return PriorParts(self.network, self.diffusion)


@dataclass(frozen=True, slots=True)
class PriorSampling:
    """Default settings for sampling from the priors, and for how much it weighs; stored in the checkpoint."""

    prior: str = ""  # which of the priors; "": the first
    tries: Tries = 2  # embeddings drawn, of which the one most similar to the caption's is kept (section 2.2)
    guidance: NotNegative = 1.0  # classifier-free
    sampler: str = "dpm++2m-sde"  # of a diffusion prior
    steps: Steps = 25
    limit: Positive = 5.0  # predicted coordinates are clipped to +- this
    temperature: NotNegative = 1.0  # of an autoregressive prior
    top_p: Share = 1.0
    likeness: Share = 0.5  # the dot product is drawn from above this quantile of its distribution
    weight: Share = 1.0  # of the embedding where the decoder is told the caption as well; 1: as in the paper

    def __post_init__(self) -> None:
        check_from_noise(self.sampler)
        check_fields(self, "imagining")


@dataclass(frozen=True, slots=True)
class UnclipConfig:
    """Everything that a run of `pinxit train unclip` depends on."""

    data: DataConfig
    text: TextEncoderConfig  # the text encoder of priors and decoder; its drop is the decoder's
    space: SpaceConfig
    priors: tuple[PriorStage, ...]
    decoder: Stage
    upsamplers: tuple[Stage, ...] = ()  # in the order of the cascade
    clip: str = "tiny"  # that makes the embeddings: a shipped name, a checkpoint folder, published weights
    drop_image: Share = 0.1  # probability of training the decoder without the embedding, for guidance (section 2.1)
    whole: Share = WHOLE  # for networks that inpaint: the fraction of pictures of which nothing is kept
    imagining: PriorSampling = field(default_factory=PriorSampling)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    store: Store = "bf16"  # of the checkpoint's weights: bf16, or int8 in half the space
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.text.learned is not None:
            raise UsageError("text.learned must be null: priors and decoder share a frozen text encoder.")
        check_fields(self, "")
        if self.text.manner != "own":
            raise UsageError(
                f"text.manner={self.text.manner} must be own: priors need the mask that says where a caption ends."
            )
        names = [prior.name for prior in self.priors]
        for prior in self.priors:
            if names.count(prior.name) > 1:
                raise UsageError(
                    f"priors: names must differ, and '{prior.name}' occurs {names.count(prior.name)} times."
                )
            self._check_prior(prior)
        if self.imagining.prior and self.imagining.prior not in names:
            problem = f"imagining.prior='{self.imagining.prior}' is none of the priors"
            raise UsageError(f"{problem}; choose from {', '.join(names) or 'none'}.")
        if not self.space.unit:
            raise UsageError("space.unit=false must be true: CLIP embeddings are normalised here.")
        self._check_decoder()
        self._check_upsamplers(names)
        self.sampling.check_schedules(self.decoder, self.upsamplers)
        for prior in self.priors:
            prior.diffusion.check_steps("imagining.steps", self.imagining.steps)

    def _check_prior(self, prior: PriorStage) -> None:
        network, where = prior.network, f"priors.{prior.name}.network"
        for name in SHARED_FIELDS:
            expected, given = getattr(self.space, name), getattr(network, name)
            if expected != given and not (name in ("buckets", "dots") and not given):
                raise UsageError(f"{where}.{name}={given} must equal space.{name}={expected}: set both.")
        for name, usual in (("pads", "learned"), ("pooled", "unit")):  # others are Karlo's
            if getattr(network, name) != usual:
                raise UsageError(f"{where}.{name}={getattr(network, name)} must be {usual}; other values are Karlo's.")
        if network.length != self.text.length:
            raise UsageError(f"{where}.length={network.length} must equal text.length={self.text.length}: set both.")
        if network.buckets and self.space.kind == "standard":
            raise UsageError(f"{where}.buckets={network.buckets}: space.kind=standard has no principal components.")

    def _check_decoder(self) -> None:
        decoder = self.decoder
        if decoder.name != DECODER or decoder.low:
            problem = f"name={decoder.name} and low={decoder.low}"
            raise UsageError(f"decoder: {problem} must be name={DECODER} and low=0: it starts from noise.")
        if decoder.unet.image != self.space.components:
            problem = f"decoder.unet.image={decoder.unet.image} must equal space.components={self.space.components}"
            raise UsageError(f"{problem}: set both.")
        if decoder.unet.masked not in (0, 4):
            raise UsageError(f"decoder.unet.masked must be 0, or 4 for inpainting, not {decoder.unet.masked}.")

    def _check_upsamplers(self, priors: Sequence[str]) -> None:
        names = [one.name for one in self.upsamplers]
        for name in names:
            taken = name in (*RESERVED, *priors) or names.count(name) > 1
            if taken or not NAME.fullmatch(name):
                problem = f"upsamplers: '{name}' cannot name a network"
                raise UsageError(f"{problem}; use lower-case letters, a name of its own, and no folder's or prior's.")
        for small, large in pairwise((self.decoder, *self.upsamplers)):
            if large.low != small.size:
                raise UsageError(f"{large.name}.low={large.low} must equal {small.name}.size={small.size}: set both.")
            if large.unet.image or large.unet.masked not in (0, 4):
                problem = f"{large.name}.unet: an upsampler takes no image embedding, and masked is 0 or 4"
                raise UsageError(f"{problem}, not image={large.unet.image} and masked={large.unet.masked}.")
            large.check_augmentation(self.sampling.augmentation)

    def upsampler(self, name: str) -> Stage:
        """The upsampler called `name`, one of `upsamplers`."""
        return next(one for one in self.upsamplers if one.name == name)

    def prior(self, name: str) -> PriorStage:
        """The prior called `name`, one of `priors`."""
        return next(prior for prior in self.priors if prior.name == name)

    @staticmethod
    def resumed(data: Mapping[str, Any]) -> dict[str, Any]:
        """JSON of a run, which an older version may have begun: see `forget_refused`."""
        result = deepcopy(dict(data))
        with suppress(*STRANGE):  # which is refused when it is converted
            forget_refused(result["sampling"], result["decoder"], *result["upsamplers"])
            discrete = [prior["diffusion"]["steps"] for prior in result["priors"] if prior["diffusion"]["steps"]]
            result["imagining"]["steps"] = min([result["imagining"]["steps"], *discrete])
        return result
