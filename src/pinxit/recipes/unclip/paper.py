"""unCLIP at the sizes of its paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pinxit.models.prior import PriorConfig
from pinxit.models.unet import UNetConfig
from pinxit.recipes.diffusion.config import DataConfig, SamplingConfig, Stage, TextEncoderConfig
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.unclip.config import DECODER, PriorSampling, PriorStage, UnclipConfig
from pinxit.recipes.unclip.space import SpaceConfig
from pinxit.training.plan import Plan


def paper() -> UnclipConfig:
    """Hierarchical Text-Conditional Image Generation with CLIP Latents (Ramesh et al. 2022, arXiv 2204.06125).

    Table 3: two priors of 1 B parameters, a decoder of GLIDE's shape at 64 px with learned variance, and upsamplers to
    256 and 1024 px of 700 M and 300 M without text and attention, trained on crops of a quarter of a side. Differences:
    - the paper trains its text encoder (24 layers of width 2048); here it is a frozen one of that width, T5-XL;
    - the CLIP (ViT-H/16 with 1024 numbers) is a published ViT-H/14, or yours;
    - the blocks of the U-Net are this project's ADM, with attention at 32, 16 and 8 px;
    - the prior is sampled ancestrally in as many steps as the paper's Analytic-DPM;
    - both upsamplers are sampled in 27 steps (the paper's: 27 and 15).
    All components of embeddings have one scale, like the paper's 17.2. Captions are dropped for half of the decoder's
    pictures and a tenth of the priors'.
    `pinxit train unclip --preset paper --data SHARDS --set clip=hub:OWNER/NAME --out RUN`
    """
    clip: dict[str, Any] = {"components": 319, "embed": 1024, "text": 2048, "length": 256}
    prior = Plan(images=600_000 * 4096, batch=4096, lr=1.1e-4, betas=(0.9, 0.96), eps=1e-6, decay=0.06, ema=0.9999)
    codes = replace(prior, images=1_000_000 * 4096, lr=1.6e-4, betas=(0.9, 0.91), eps=1e-10, decay=0.04, ema=0.999)
    return UnclipConfig(
        data=DataConfig(source="world:full"),
        text=TextEncoderConfig("hub:google/t5-v1_1-xl", length=256, drop=0.5),
        space=SpaceConfig(embed=1024, components=319, kind="scaled", buckets=1024, dots=1024),
        priors=(
            PriorStage(PriorConfig(**clip, width=2048, layers=24, heads=32), name="prior", plan=prior),
            PriorStage(
                PriorConfig(**clip, width=1664, layers=24, heads=26, buckets=1024, dots=1024),
                name="components",
                plan=codes,
            ),
        ),
        decoder=Stage(
            64,
            UNetConfig(
                (512, 1024, 1536, 2048),
                (3, 3, 3, 3),
                (False, True, True, True),
                outputs=6,
                text=2048,
                image=319,
                dropout=0.1,
            ),
            DiffusionConfig("eps", variance="learned", steps=1000),
            name=DECODER,
            plan=Plan(images=800_000 * 2048, batch=2048, lr=1.2e-4, ema=0.9999, channels_last=True),
            pictures=250_000_000,
        ),
        upsamplers=(_upsampler(256, 320, (1, 2, 3, 4), 3), _upsampler(1024, 192, (1, 1, 2, 2, 4, 4), 2)),
        clip="hub:laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        imagining=PriorSampling(sampler="ancestral", steps=64),
        sampling=SamplingConfig("ancestral", steps=250, guidance=1.25, upsampler_steps=27),
    )


def _upsampler(size: int, width: int, times: Sequence[int], depth: int) -> Stage:
    """An upsampler of the paper: fully convolutional, trained on crops with corrupted low-resolution inputs."""
    levels = len(times)
    return Stage(
        size,
        UNetConfig(
            tuple(width * one for one in times),
            (depth,) * levels,
            (False,) * levels,
            middle=False,
            low_res=3,
            dropout=0.1 if size == 256 else 0.0,
        ),
        DiffusionConfig("eps", schedule="cosine" if size == 256 else "linear", steps=1000),
        low=size // 4,
        crop=size // 4,
        corrupt="blur" if size == 256 else "bsr",
        name="upsampler" if size == 256 else "second_upsampler",
        plan=Plan(
            images=1_000_000 * (1024 if size == 256 else 512),
            batch=1024 if size == 256 else 512,
            lr=1.2e-4 if size == 256 else 1.0e-4,
            ema=0.9999,
            channels_last=True,
        ),
        pictures=250_000_000,
    )
