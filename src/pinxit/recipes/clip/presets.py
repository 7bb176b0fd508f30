"""CLIP at several sizes: what is built, from which data, and how it is trained.

`pinxit train clip --preset NAME --data DATA --out RUN [--set SECTION.FIELD=VALUE ...]`; a preset is Python, so read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from pinxit.errors import UsageError
from pinxit.models.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.models.clip_shapes import PUBLISHED
from pinxit.recipes.batches import Augment
from pinxit.recipes.clip.task import GROUP, ClipTraining
from pinxit.recipes.published import Start, fitting_of
from pinxit.schema import Count, Seed, Whole
from pinxit.text.tokenizers import EOT, Vocabulary
from pinxit.training.plan import Plan
from pinxit.types import Fitting


@dataclass(frozen=True, slots=True)
class ClipDataConfig:
    """Which pictures it is trained on."""

    source: str = "world:small"  # a world, a folder, tar shards
    size: Count = 64  # side of the stored pictures
    pictures: Count = 100_000
    neighbours: bool = True  # worlds only: groups of four pictures that differ in one stated fact share each batch
    stream: bool = False  # tar shards are read during training, from a path or a URL, and no picture is stored
    held_out: Whole = 1000  # pictures that are never trained on, on which zero-shot accuracy is logged


@dataclass(frozen=True, slots=True)
class ClipRunConfig:
    """Everything that a run of `pinxit train clip` depends on."""

    vocab: Vocabulary  # text tokens
    data: ClipDataConfig
    clip: CLIPConfig
    plan: Plan
    piece: Whole = 0  # rows in memory at a time (gradient caching); 0: the whole batch
    augment: Augment = field(default_factory=Augment)
    tokens: Literal["own", "published"] = "own"  # learned from the captions, or those of OpenAI's CLIP
    fitting: Fitting = field(default_factory=Fitting)  # how the checkpoint resizes and crops pictures
    seed: Seed = 0

    def __post_init__(self) -> None:
        eot = EOT if self.tokens == "own" else self.vocab - 1
        for one, value, expected in (("vocab", self.clip.text.vocab, self.vocab), ("eot", self.clip.text.eot, eot)):
            if value != expected:
                raise UsageError(f"clip.text.{one}={value} must be {expected}: set both.")
        if not 0 <= self.data.held_out < self.data.pictures:
            raise UsageError(f"data.held_out={self.data.held_out} must be below data.pictures={self.data.pictures}.")
        if self.data.stream and self.grouped:
            raise UsageError("data.stream is of tar shards: set data.source to them and data.neighbours=false.")
        if self.grouped and (self.plan.batch % GROUP or self.data.held_out % GROUP or self.data.pictures % GROUP):
            raise UsageError(f"with data.neighbours batch, pictures and held_out must be multiples of {GROUP}.")

    @property
    def grouped(self) -> bool:
        """Whether pictures come in groups of four neighbours, which only the world can draw."""
        return self.data.neighbours and self.data.source.startswith("world:")

    @property
    def training(self) -> ClipTraining:
        """What the task depends on."""
        group, held_out = (GROUP if self.grouped else 1), self.data.held_out
        return ClipTraining(
            self.clip,
            self.data.size,
            self.seed,
            group,
            piece=self.piece or self.plan.micro,
            augment=self.augment,
            held_out=held_out,
        )


def with_model(config: ClipRunConfig, init: Start) -> ClipRunConfig:
    """The config with the network and text tokens of a checkpoint, or of a published CLIP."""
    clip, data = init.config("clip", CLIPConfig), config.data
    return replace(
        config,
        clip=clip,
        vocab=clip.text.vocab,
        data=replace(data, size=clip.vision.size),
        tokens="own" if clip.text.eot == EOT else "published",
        fitting=fitting_of(init),
    )


def _small(size: int, patch: int, width: int, layers: int, heads: int, vocab: int, tokens: int) -> CLIPConfig:
    vision = CLIPVisionConfig(size=size, patch=patch, width=width, layers=layers, heads=heads)
    text = CLIPTextConfig(vocab=vocab, tokens=tokens, width=width, layers=layers, heads=heads, eot=EOT)
    return CLIPConfig(width, vision, text, activation="gelu", mean=(0.5,) * 3, std=(0.5,) * 3)


def _plan(images: int, batch: int, lr: float, warmup: int, ema: float = 0.998) -> Plan:
    """The paper's optimiser: betas and eps of its ViTs, weight decay 0.2 except for gains and biases."""
    return Plan(images, batch, lr=lr, warmup=warmup, betas=(0.9, 0.98), eps=1e-6, decay=0.2, clip=1.0, ema=ema)


def nano() -> ClipRunConfig:
    """32 px, for tests and trying the commands: seconds on one core. `pinxit train clip --preset nano --out RUN`"""
    data = ClipDataConfig(size=32, pictures=256, held_out=16)
    plan = _plan(images=1024, batch=16, lr=1e-3, warmup=128, ema=0.95)
    return ClipRunConfig(512, data, _small(32, 8, 64, 1, 2, vocab=512, tokens=34), plan)


def tiny() -> ClipRunConfig:
    """64 px, about 7 M parameters: half an hour of 2 CPU cores. `pinxit train clip --preset tiny --out RUN`"""
    clip = _small(64, 8, 256, 4, 4, vocab=1024, tokens=34)
    return ClipRunConfig(1024, ClipDataConfig(), clip, _plan(200_000, 64, 1e-3, 6_400))


def labels() -> ClipRunConfig:
    """A small ModifiedResNet for pictures whose captions are mere labels, to be compared with classifiers.

    `pinxit train clip --preset labels --data fashion-mnist --out RUN`; half an hour of one core beside other work.
    """
    text = CLIPTextConfig(vocab=512, tokens=24, width=128, layers=2, heads=2, eot=EOT)
    vision = CLIPVisionConfig(size=32, width=64, stages=(2, 2, 2))
    clip = CLIPConfig(128, vision, text, activation="gelu", mean=(0.5,) * 3, std=(0.5,) * 3)
    data = ClipDataConfig("fashion-mnist", 32, 60_000, neighbours=False, held_out=2_000)
    plan = replace(_plan(360_000, 128, 1e-3, 12_800), channels_last=True)
    return ClipRunConfig(512, data, clip, plan, augment=Augment(1 / 16, mirror=True))


def gpu_small() -> ClipRunConfig:
    """64 px, for one GPU and the full world. `pinxit train clip --preset gpu-small --out RUN`"""
    data = ClipDataConfig("world:full", pictures=1_000_000, held_out=2000)
    clip = _small(64, 8, 384, 8, 6, vocab=4096, tokens=66)
    return ClipRunConfig(4096, data, clip, _plan(10_000_000, 1024, 1e-3, 200_000))


def paper(name: str) -> ClipRunConfig:
    """A published model's shape with the paper's plan (section 2.5): batches of 32,768, 32 epochs of 400 M pairs."""
    vocab = 49_152
    shape = PUBLISHED[name]
    resnet = bool(shape.vision.stages)
    plan = Plan(
        images=32 * 400_000_000,
        batch=32_768,
        lr=RATES.get(name, 5e-4),
        warmup=2_000 * 32_768,
        betas=(0.9, 0.999 if resnet else 0.98),
        eps=1e-8 if resnet else 1e-6,
        decay=0.2,
        ema=0.0,
    )
    data = ClipDataConfig("world:full", shape.vision.size, 400_000_000, neighbours=False, held_out=10_000)
    clip = replace(shape, text=replace(shape.text, vocab=vocab, eot=EOT))
    return ClipRunConfig(vocab, data, clip, plan, piece=256)


RATES = {"RN50x16": 4e-4, "RN50x64": 3.6e-4, "ViT-L/14": 4e-4, "ViT-L/14@336": 2e-5}  # others: 5e-4
PRESETS: dict[str, Callable[[], ClipRunConfig]] = {"nano": nano, "tiny": tiny, "labels": labels, "gpu-small": gpu_small}


def preset(name: str) -> ClipRunConfig:
    """The config called `name`: a small one, or a published model's. Raises UsageError for an unknown one."""
    if name in PUBLISHED:
        return paper(name)
    if name not in PRESETS:
        raise UsageError(f"there is no preset '{name}' of clip; choose from {', '.join([*PRESETS, *PUBLISHED])}.")
    return PRESETS[name]()
