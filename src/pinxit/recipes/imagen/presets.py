"""Imagen at several sizes: what is built, from which data, and how each stage is trained.

`pinxit train imagen --preset NAME --out RUN [--set SECTION.FIELD=VALUE ...]`; a preset is Python, so read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pinxit.data.scripts import Script
from pinxit.errors import UsageError
from pinxit.models.text import TextTransformerConfig
from pinxit.models.unet import UNetConfig
from pinxit.recipes.imagen.denoiser import DiffusionConfig
from pinxit.text.encoders import open_text_encoder
from pinxit.training.plan import Plan
from pinxit.weights.checkpoint import Store

Grid = Literal["even", "karras"]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which pictures."""

    source: str = "world:small"  # as `pinxit train --data` takes it: a world, a folder, tar shards
    pictures: int = 200_000  # stored for the base, at its size
    large: int = 20_000  # stored for the upsampler, at its size
    script: Script = "latin"  # captions that are read: those in Latin letters, or all where the reader knows more


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Who reads the captions, and how much of them."""

    encoder: str = "minilm"  # the packaged all-MiniLM-L6-v2, a folder in the transformers layout, hub:OWNER/NAME, or:
    learned: TextTransformerConfig | None = None  # one trained with the base, on our own tokens, instead
    length: int = 128  # tokens
    stored: int = 0  # captions of a picture that are read before training and kept on disk; 0: read as training goes
    drop: float = 0.1  # chance that a stage sees no caption, for guidance (section 4.1)

    def __post_init__(self) -> None:
        if self.learned is not None and self.stored:
            raise UsageError("text.stored must be 0 where the text encoder is learned: what it says changes.")


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One network of the cascade."""

    size: int  # side of its pictures in pixels
    unet: UNetConfig
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    low: int = 0  # side of the smaller picture that it enlarges; 0: it draws from nothing
    crop: int = 0  # side of the squares it is trained on; 0: whole pictures

    def __post_init__(self) -> None:
        if self.low and self.size % self.low:
            raise UsageError(f"an upsampler's size={self.size} must be a multiple of low={self.low}.")
        if self.crop > self.size or (self.low and self.crop % self.scale):
            raise UsageError(f"crop={self.crop} must be at most size={self.size} and a multiple of size / low.")

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
    steps: int = 25  # of the base
    grid: Grid = "even"  # where its steps fall: evenly in time, or closer where it is clean (EDM)
    guidance: float = 4.0  # classifier-free, of the base
    percentile: float = 0.995  # dynamic thresholding (section 2.3); 0: static
    upsampler_steps: int = 10
    upsampler_guidance: float = 1.0
    augmentation: float = 0.2  # noise on the smaller picture (section 2.4)


@dataclass(frozen=True, slots=True)
class Plans:
    """How long each stage is trained."""

    base: Plan
    upsampler: Plan


@dataclass(frozen=True, slots=True)
class ImagenConfig:
    """Everything that a run of `pinxit train imagen` depends on."""

    data: DataConfig
    text: TextConfig
    base: StageConfig
    upsampler: StageConfig
    plans: Plans
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    ranker: str = "tiny"  # whose CLIP ranks the candidates
    store: Store = "bf16"  # of the checkpoint's weights: bf16, or int8 in half the space
    seed: int = 0

    def __post_init__(self) -> None:
        if self.upsampler.low != self.base.size:
            raise UsageError(f"upsampler.low={self.upsampler.low} must equal base.size={self.base.size}: set both.")
        if self.text.learned is not None and self.text.learned.tokens < self.text.length:
            raise UsageError(f"text.learned.tokens must be at least text.length={self.text.length}.")


def nano() -> ImagenConfig:
    """16 px to 32 px, for tests and a first look; draws nothing worth seeing.

    Seconds a stage on one core. `pinxit train imagen --preset nano --out RUN`
    """
    small: dict[str, Any] = {"blocks": (1, 1), "attention": (False, True), "text": 384, "context": 32, "pool_heads": 2}
    base = UNetConfig((32, 64), head=32, groups=8, patch=2, bypass=True, **small)
    upsampler = UNetConfig(
        (16, 32),
        head=16,
        groups=8,
        patch=4,
        bypass=True,
        low_res=3,
        self_attention=False,  # it learns on crops
        augmentation=True,
        **small,
    )
    plan = Plan(images=512, batch=16, lr=1e-3, warmup=64, ema=0.95, clip=1.0)
    v = DiffusionConfig("v")
    return ImagenConfig(
        data=DataConfig(pictures=64, large=32),
        text=TextConfig(length=32),
        base=StageConfig(16, base, v),
        upsampler=StageConfig(32, upsampler, v, low=16, crop=16),
        plans=Plans(plan, plan),
        sampling=SamplingConfig(steps=4, upsampler_steps=2),
    )


def tiny() -> ImagenConfig:
    """64 px to 256 px over the packaged MiniLM; the shipped checkpoint. About 24 M parameters besides the reader's.

    Five to six hours on 2 CPU cores. `pinxit train imagen --preset tiny --data world:small --out RUN`
    """
    base = UNetConfig(
        (128, 256), (2, 2), (True, True), patch=4, bypass=True, text=384, context=192, pool_heads=6, embed=256
    )
    upsampler = UNetConfig(
        (64, 96, 128),
        (2, 1, 1),
        (False, False, True),
        patch=4,
        bypass=True,
        low_res=3,
        self_attention=False,  # it learns on crops
        text=384,
        context=128,
        pool_heads=6,
        augmentation=True,
        embed=256,
    )
    shared: dict[str, Any] = {"betas": (0.9, 0.99), "clip": 1.0, "ema": 0.999, "channels_last": True}
    return ImagenConfig(
        data=DataConfig(pictures=400_000, large=24_000),
        text=TextConfig(length=48, stored=1),
        base=StageConfig(64, base, DiffusionConfig("v", shift=3.0)),
        upsampler=StageConfig(256, upsampler, DiffusionConfig("v"), low=64, crop=64),
        plans=Plans(
            base=Plan(images=600_000, batch=16, lr=5e-4, warmup=1_600, **shared),
            upsampler=Plan(images=250_000, batch=8, lr=5e-4, warmup=6_400, **shared),
        ),
        store="int8",
    )


def tiny_learned() -> ImagenConfig:
    """`tiny` with a text encoder of MiniLM's shape trained from scratch: what a frozen language model is compared with.

    `pinxit train imagen --preset tiny-learned --data world:small --out RUN`
    """
    config = tiny()
    reader = TextTransformerConfig(vocab=1024, tokens=config.text.length)
    return replace(config, text=replace(config.text, encoder="learned", learned=reader, stored=0))


def read_by(config: ImagenConfig, encoder: str) -> ImagenConfig:
    """`config` with another frozen text encoder, whose vectors both networks then take.

    Raises UsageError or CheckpointError when it cannot be opened.
    """
    if encoder == config.text.encoder and config.text.learned is None:
        return config  # a run that goes on need not open it twice
    width = open_text_encoder(encoder).width

    def taking(stage: StageConfig) -> StageConfig:
        heads = next(heads for heads in (stage.unet.pool_heads, 8, 6, 4, 3, 2, 1) if width % max(heads, 1) == 0)
        return replace(stage, unet=replace(stage.unet, text=width, pool_heads=heads))

    text = replace(config.text, encoder=encoder, learned=None)
    return replace(config, text=text, base=taking(config.base), upsampler=taking(config.upsampler))


PRESETS: dict[str, Callable[[], ImagenConfig]] = {"nano": nano, "tiny": tiny, "tiny-learned": tiny_learned}


def preset(name: str) -> ImagenConfig:
    """The config called `name`. Raises UsageError for an unknown one."""
    if name not in PRESETS:
        raise UsageError(f"there is no preset '{name}' of imagen; choose from {', '.join(PRESETS)}.")
    return PRESETS[name]()
