"""unCLIP presets: model sizes, data, and the hyperparameters of each stage.

`pinxit train unclip --preset NAME --out RUN [--set SECTION.FIELD=VALUE ...]`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from pinxit.config import from_dict, override
from pinxit.errors import UsageError
from pinxit.models.prior import PriorConfig
from pinxit.models.unet import UNetConfig
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.config import DataConfig, SamplingConfig, Stage, StageConfig, TextEncoderConfig
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.imagen.presets import tiny as imagen_tiny
from pinxit.recipes.unclip.config import DECODER, SPACE, PriorParts, PriorSampling, PriorStage, UnclipConfig
from pinxit.recipes.unclip.paper import paper
from pinxit.recipes.unclip.space import SpaceConfig
from pinxit.text.encoders import located
from pinxit.training.plan import Plan
from pinxit.weights import zoo

if TYPE_CHECKING:
    from pinxit.recipes.published import Start


CLIP_WIDTH = 512  # of the shipped `tiny`'s embeddings


def nano() -> UnclipConfig:
    """16 px and both priors, for tests; its pictures are not worth seeing.

    Seconds a stage on one core. `pinxit train unclip --preset nano --out RUN`
    """
    unet = UNetConfig(
        (32, 64), (1, 1), (False, True), patch=2, bypass=True, head=32, groups=8, text=384, context=32, pool_heads=2
    )
    plan = Plan(images=512, batch=16, lr=1e-3, warmup=64, ema=0.95, clip=1.0)
    small: dict[str, Any] = {
        "embed": CLIP_WIDTH,
        "components": 16,
        "text": 384,
        "length": 32,
        "width": 64,
        "layers": 2,
        "heads": 2,
    }
    return UnclipConfig(
        data=DataConfig(),
        text=TextEncoderConfig(length=32, stored=1, drop=0.5),
        space=SpaceConfig(embed=CLIP_WIDTH, components=16, buckets=16, dots=8),
        priors=(
            PriorStage(PriorConfig(**small), name="prior", plan=plan),
            PriorStage(PriorConfig(**small, buckets=16, dots=8), name="components", plan=plan),
        ),
        decoder=Stage(
            16, replace(unet, image=16, masked=4), DiffusionConfig("v"), name=DECODER, plan=plan, pictures=64
        ),
        upsamplers=(
            Stage(
                32,
                UNetConfig((16, 32), (1, 1), (False, False), middle=False, groups=8, patch=4, bypass=True, low_res=3),
                DiffusionConfig("v"),
                low=16,
                crop=16,
                corrupt="blur",
                name="upsampler",
                plan=plan,
                pictures=32,
            ),
        ),
        imagining=PriorSampling(steps=4),
        sampling=SamplingConfig(steps=4, upsampler_steps=2),
    )


def tiny() -> UnclipConfig:
    """64 px, with the CLIP of the shipped `tiny` and the packaged MiniLM; --dry-run estimates how long training takes.

    The decoder is `imagen-tiny`'s base with an image embedding and inpainting added, and should start from its weights;
    `imagen-tiny`'s upsampler is taken over as it is. The autoregressive prior is left out until it is given images
    (`--set priors.components.plan.images=190000`).
    `pinxit train unclip --preset tiny --init-from imagen-tiny --out RUN`
    """
    base = imagen_tiny().stage("base")
    shared: dict[str, Any] = {"optimiser": "muon", "betas": (0.9, 0.99), "clip": 1.0, "ema": 0.999}
    prior = Plan(images=500_000, batch=64, lr=1e-3, warmup=6_400, decay=0.06, **shared)
    return UnclipConfig(
        data=DataConfig(source="world:gallery", names="many"),
        text=TextEncoderConfig(length=48, stored=1, drop=0.5),
        space=SpaceConfig(embed=CLIP_WIDTH, components=128),
        priors=(
            PriorStage(PriorConfig(components=128, embed=CLIP_WIDTH, length=48), name="prior", plan=prior),
            PriorStage(
                PriorConfig(components=128, embed=CLIP_WIDTH, length=48, buckets=256, dots=64),
                name="components",
                plan=replace(prior, images=0),
            ),
        ),
        decoder=Stage(
            base.size,
            replace(base.unet, image=128, image_hidden=1024, masked=4),
            base.diffusion,
            name=DECODER,
            plan=Plan(images=100_000, batch=24, lr=3e-4, warmup=2_400, channels_last=True, **shared),
            pictures=200_000,
        ),
        whole=0.6,
        # Guided, the prior needs no more tries than the paper's two, and its embeddings are drawn rightly as often as
        # those of true pictures (docs/log.md). Less than the paper's whole embedding, which overrules the caption
        # where it is wrong.
        imagining=PriorSampling(tries=2, guidance=3.0, steps=10, weight=0.4),
        # No dynamic thresholding: a third of the world's true values are 0 or 255, which it would turn grey.
        sampling=SamplingConfig(
            "dpm++2m-sde", steps=25, guidance=3.0, percentile=0.0, clip_guidance=0.2, agreement=2.0
        ),
        store="int8",
    )


def with_models(config: UnclipConfig, checkpoint: Start) -> UnclipConfig:
    """`config` with the networks and the text encoder of a checkpoint, to train them further.

    An Imagen's base becomes the decoder, with inputs for embeddings added. Raises UsageError for priors that have no
    plan in `config`.
    """
    text = from_dict(TextEncoderConfig, dict(checkpoint.settings["text"]), f"{checkpoint.folder}: text")
    text = replace(text, stored=config.text.stored, drop=config.text.drop)
    if checkpoint.recipe == "unclip":
        return _resumed(config, text, checkpoint)
    base = checkpoint.config(next(iter(checkpoint.parts)), StageConfig)
    if text.learned is not None:
        raise UsageError(f"{checkpoint.folder} has a learned text encoder, which unclip does not support.")
    kept = {name: getattr(config.decoder.unet, name) for name in ("image", "image_tokens", "image_hidden", "masked")}
    decoder = replace(
        config.decoder, size=base.size, unet=replace(base.unet, **kept), diffusion=base.diffusion, low=0, crop=base.crop
    )
    priors = tuple(
        replace(prior, network=_fitted(replace(prior.network, text=base.unet.text), config.space, text))
        for prior in config.priors
    )
    upsamplers = _upsamplers_of(config, checkpoint, list(checkpoint.parts)[1:]) or config.upsamplers
    return replace(config, text=text, decoder=decoder, priors=priors, upsamplers=upsamplers)


def _upsamplers_of(config: UnclipConfig, checkpoint: Start, names: Sequence[str]) -> tuple[Stage, ...]:
    """The upsamplers of a checkpoint; those for which `config` has no plan are not trained."""
    plans = {one.name: (one.plan, one.pictures) for one in config.upsamplers}
    idle = replace(config.decoder.plan, images=0)
    stages = []
    for name in names:
        about, (plan, pictures) = checkpoint.config(name, StageConfig), plans.get(name, (idle, 1))
        shape = {one.name: getattr(about, one.name) for one in fields(StageConfig)}
        stages.append(Stage(**shape, name=name, plan=plan, pictures=pictures))
    return tuple(stages)


def _resumed(config: UnclipConfig, text: TextEncoderConfig, checkpoint: Start) -> UnclipConfig:
    """With the space and the networks of an unCLIP checkpoint; priors that it lacks are made to fit the space."""
    space, trained = checkpoint.config(SPACE, SpaceConfig), checkpoint.config(DECODER, StageConfig)
    names = [prior.name for prior in config.priors]
    every = [name for name in checkpoint.parts if name != SPACE]
    brought, more = every[: every.index(DECODER)], every[every.index(DECODER) + 1 :]
    if extra := [name for name in brought if name not in names]:
        raise UsageError(f"{checkpoint.folder} has a prior '{extra[0]}', which this preset has no plan for.")
    decoder = replace(config.decoder, **{one.name: getattr(trained, one.name) for one in fields(StageConfig)})
    priors = tuple(
        _with_network(prior, checkpoint.config(prior.name, PriorParts)) if prior.name in brought else prior
        for prior in config.priors
    )
    fitting = tuple(replace(prior, network=_fitted(prior.network, space, text)) for prior in priors)
    clip = str(checkpoint.settings["clip"])
    upsamplers = _upsamplers_of(config, checkpoint, more)
    return replace(config, text=text, space=space, priors=fitting, decoder=decoder, clip=clip, upsamplers=upsamplers)


def _with_network(prior: PriorStage, parts: PriorParts) -> PriorStage:
    return replace(prior, network=parts.network, diffusion=parts.diffusion)


def _fitted(network: PriorConfig, space: SpaceConfig, text: TextEncoderConfig) -> PriorConfig:
    """A prior's network for another space and text encoder."""
    changes: dict[str, Any] = {"components": space.components, "embed": space.embed, "length": text.length}
    if network.buckets:
        changes |= {"buckets": space.buckets, "dots": space.dots}
    return replace(network, **changes)


def with_clip(config: UnclipConfig, clip: str) -> UnclipConfig:
    """`config` for the embeddings of another CLIP: of its width, and of no more components than that.

    Raises CheckpointError if there is no such CLIP.
    """
    clip = zoo.located(clip)
    if clip == zoo.located(config.clip):
        return config  # a resumed run need not open it again
    width = ClipEncoder.open(clip, "cpu").width
    space = replace(config.space, embed=width, components=min(config.space.components, width))
    priors = tuple(replace(one, network=_fitted(one.network, space, config.text)) for one in config.priors)
    unet = replace(config.decoder.unet, image=space.components)
    return replace(config, clip=clip, space=space, priors=priors, decoder=replace(config.decoder, unet=unet))


def changed(config: UnclipConfig, changes: Sequence[str]) -> UnclipConfig:
    """`config` with dotted changes as `config.override` takes them; paths are made absolute."""
    config = override(config, changes)
    text = replace(config.text, encoder=located(config.text.encoder))
    return replace(config, clip=zoo.located(config.clip), text=text)


PRESETS: dict[str, Callable[[], UnclipConfig]] = {"nano": nano, "tiny": tiny, "paper": paper}


def preset(name: str) -> UnclipConfig:
    """The config called `name`. Raises UsageError for an unknown one."""
    if name not in PRESETS:
        raise UsageError(f"there is no preset '{name}' of unclip; choose from {', '.join(PRESETS)}.")
    return PRESETS[name]()
