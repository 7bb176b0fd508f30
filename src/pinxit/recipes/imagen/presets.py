"""Imagen at several sizes: what is built, from which data, and how each stage is trained.

`pinxit train imagen --preset NAME --out RUN [--set SECTION.FIELD=VALUE ...]`; a preset is Python, so read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from pinxit.config import from_dict, override
from pinxit.errors import UsageError
from pinxit.models.text import TextTransformerConfig
from pinxit.models.unet import UNetConfig
from pinxit.models.unet_shapes import imagen_base, imagen_super_256, imagen_super_1024
from pinxit.recipes.diffusion.config import DataConfig, SamplingConfig, Stage, StageConfig, TextEncoderConfig
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.imagen.config import ImagenConfig, migrated_change
from pinxit.recipes.imagen.open import networks
from pinxit.recipes.published import Published, Start
from pinxit.text.encoders import located, open_text_encoder
from pinxit.training.plan import Plan
from pinxit.weights import zoo

LEARNED = "learned"  # names the text encoder that is trained together with the base, on our own tokens


def nano() -> ImagenConfig:
    """16 px to 32 px, for tests and for trying the commands; draws nothing worth seeing.

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
        self_attention=False,  # it is trained on crops
        augmentation=True,
        **small,
    )
    plan = Plan(images=512, batch=16, lr=1e-3, warmup=64, ema=0.95, clip=1.0)
    v = DiffusionConfig("v")
    return ImagenConfig(
        data=DataConfig(),
        text=TextEncoderConfig(length=32),
        stages=(
            Stage(16, base, v, name="base", plan=plan, pictures=64),
            Stage(32, upsampler, v, low=16, crop=16, name="upsampler", plan=plan, pictures=32),
        ),
        sampling=SamplingConfig(steps=4, upsampler_steps=2),
    )


def tiny() -> ImagenConfig:
    """64 px to 256 px over the packaged MiniLM; the shipped checkpoint. About 25 M parameters, MiniLM not counted.

    Many hours on 2 CPU cores. `pinxit train imagen --preset tiny --data world:gallery --out RUN`
    """
    base = UNetConfig(
        (128, 256),
        (2, 2),
        (True, True),
        patch=4,
        bypass=True,
        text=384,
        context=192,
        refiner_layers=2,
        pool_heads=6,
        embed=256,
    )
    upsampler = UNetConfig(
        (64, 96, 128),
        (2, 1, 1),
        (False, False, True),
        patch=4,
        bypass=True,
        low_res=3,
        self_attention=False,  # it is trained on crops
        text=384,
        context=128,
        pool_heads=6,
        augmentation=True,
        embed=256,
    )
    shared: dict[str, Any] = {"optimiser": "muon", "lr": 5e-4, "betas": (0.9, 0.99), "clip": 1.0}
    shared |= {"ema": 0.999, "channels_last": True}
    return ImagenConfig(
        data=DataConfig(source="world:gallery", names="many"),
        text=TextEncoderConfig(length=56, stored=1, noise=3.0, spell=True),
        stages=(
            Stage(
                64,
                base,
                DiffusionConfig("v", shift=3.0, p_mean=0.3, p_std=1.3),
                name="base",
                plan=Plan(images=600_000, batch=24, warmup=2_400, **shared),
                pictures=400_000,
            ),
            Stage(
                256,
                upsampler,
                DiffusionConfig("v"),
                low=64,
                crop=64,
                max_augmentation=0.3,
                name="upsampler",
                plan=Plan(images=400_000, batch=16, warmup=6_400, **shared),
                pictures=24_000,
            ),
        ),
        # No dynamic thresholding: a third of the world's true pixel values are 0 or 255, which it would turn grey.
        sampling=SamplingConfig("dpm++2m-sde", steps=25, guidance=3.0, percentile=0.0, agreement=2.0, augmentation=0.1),
        store="int8",
    )


def tiny_learned() -> ImagenConfig:
    """`tiny` with a text encoder of MiniLM's shape trained from scratch, to compare a frozen language model with.

    `pinxit train imagen --preset tiny-learned --data world:small --out RUN`
    """
    return read_by(tiny(), LEARNED)


def paper() -> ImagenConfig:
    """Photorealistic Text-to-Image Diffusion Models (Saharia et al. 2022, arXiv 2205.11487): 64, 256, 1024 px, T5-XXL.

    Sections 2 and 4.1 and appendix F; the paper used 256 TPU-v4 for the base and 128 for each upsampler. All networks
    are trained by AdamW without weight decay, that is by Adam, as in the paper except for its base, which used
    Adafactor. The learning rate falls to 0; appendix F gives 2,500,000, the number of steps, as its final value. The
    article does not state the number of text tokens (here 128), the decay of the averaged weights (0.9999), the
    sampling steps, nor the guidance of its samples (here that of its COCO figures). Only the base uses dynamic
    thresholding; both upsamplers have the same sampling settings. The network to 256 px has self-attention and is
    trained on whole pictures, the one to 1024 px on crops of 256. The data, 460 M internal pictures and the 400 M pairs
    of LAION, are for you to supply.
    `pinxit train imagen --preset paper --data SHARDS --out RUN`
    """
    plan = Plan(
        images=2_500_000 * 2048,
        batch=2048,
        lr=1e-4,
        warmup=10_000 * 2048,
        ema=0.9999,
        channels_last=True,
    )
    training: dict[str, Any] = {"plan": plan, "pictures": 860_000_000}
    return ImagenConfig(
        data=DataConfig(source="world:full"),
        text=TextEncoderConfig("hub:google/t5-v1_1-xxl", length=128),
        stages=(
            Stage(64, imagen_base(), name="base", **training),
            Stage(256, imagen_super_256(), low=64, name="upsampler", **training),
            Stage(1024, imagen_super_1024(), low=256, crop=256, name="second_upsampler", **training),
        ),
        sampling=SamplingConfig(
            "ancestral",
            steps=256,
            guidance=1.35,
            upsampler_steps=128,
            upsampler_guidance=8.0,
            augmentation=0.1,
        ),
    )


def read_by(config: ImagenConfig, encoder: str) -> ImagenConfig:
    """`config` with another text encoder, and networks for its width; "learned" is one trained with the base.

    Raises UsageError or CheckpointError when it cannot be opened.
    """
    if encoder == LEARNED:
        learned = config.text.learned or TextTransformerConfig(vocab=1024, tokens=config.text.length)
        text = replace(config.text, encoder=LEARNED, learned=learned, stored=0)
        return _taking(replace(config, text=text), learned.width)
    encoder = located(encoder)
    if encoder == located(config.text.encoder) and config.text.learned is None:
        return config  # a resumed run need not open it twice
    width = open_text_encoder(encoder).width
    return _taking(replace(config, text=replace(config.text, encoder=encoder, learned=None)), width)


def _taking(config: ImagenConfig, width: int) -> ImagenConfig:
    """`config` with text of `width` for all networks that take text."""
    for stage in config.stages:
        if stage.unet.text:
            heads = next(heads for heads in (stage.unet.pool_heads, 8, 6, 4, 3, 2, 1) if width % max(heads, 1) == 0)
            config = config.changed(stage.name, unet=replace(stage.unet, text=width, pool_heads=heads))
    return config


def with_models(config: ImagenConfig, checkpoint: Start) -> ImagenConfig:
    """`config` with the networks and the text encoder of a checkpoint, to train those further on other data.

    How many captions are encoded beforehand stays the preset's. Raises UsageError for networks that the preset has no
    plan for.
    """
    models = networks(checkpoint)
    if isinstance(checkpoint, Published):  # only the networks that it has are trained
        kept = tuple(stage for stage in config.stages if stage.name in models)
        sampling = from_dict(SamplingConfig, dict(checkpoint.settings["sampling"]), str(checkpoint.folder))
        config = replace(config, stages=kept, sampling=sampling, text=replace(config.text, stored=0))
    if extra := [name for name in models if name not in config.cascade]:
        raise UsageError(f"{checkpoint.folder} has a {extra[0]}, which this preset has no plan for: take another.")
    text = from_dict(TextEncoderConfig, dict(checkpoint.settings["text"]), f"{checkpoint.folder}: text")
    stages = tuple(
        replace(stage, **{one.name: getattr(models[stage.name], one.name) for one in fields(StageConfig)})
        if stage.name in models
        else stage
        for stage in config.stages
    )
    return replace(config, stages=stages, text=replace(text, stored=0 if text.learned else config.text.stored))


def changed(config: ImagenConfig, changes: Sequence[str]) -> ImagenConfig:
    """`config` with dotted changes as `config.override` takes them, or as older versions printed them.

    The folders of a text encoder and of the ranker become absolute paths.
    """
    result = override(config, map(migrated_change, changes))
    result = replace(result, ranker=zoo.located(result.ranker))
    if result.text.encoder == config.text.encoder:
        return result  # an old run may hold a relative path, and a run's config may not change
    return replace(result, text=replace(result.text, encoder=located(result.text.encoder)))


PRESETS: dict[str, Callable[[], ImagenConfig]] = {
    "nano": nano,
    "tiny": tiny,
    "tiny-learned": tiny_learned,
    "paper": paper,
}


def preset(name: str) -> ImagenConfig:
    """The config called `name`. Raises UsageError for an unknown one."""
    if name not in PRESETS:
        raise UsageError(f"there is no preset '{name}' of imagen; choose from {', '.join(PRESETS)}.")
    return PRESETS[name]()
