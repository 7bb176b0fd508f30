"""DALL-E at four sizes: what is built, from which data, and how each stage is trained.

`pinxit train dalle --preset NAME --out RUN [--set SECTION.FIELD=VALUE ...]`; a preset is Python, so read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pinxit.errors import UsageError
from pinxit.models.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.models.dvae import DVAEConfig
from pinxit.models.transformer import TransformerConfig
from pinxit.recipes.dalle.config import DalleConfig, DataConfig, NoiseConfig, Plans, SamplingConfig
from pinxit.recipes.dalle.paper import paper
from pinxit.text.tokenizers import EOT, Tokenizer
from pinxit.training.plan import Plan

if TYPE_CHECKING:
    from pinxit.recipes.published import Start


def nano() -> DalleConfig:
    """32 px, 16 codes a picture: for tests and for trying the commands; draws nothing worth seeing.

    Seconds a stage on one core. `pinxit train dalle --preset nano --out RUN`
    """
    return DalleConfig(
        vocab=512,
        data=DataConfig(size=32, pictures=64, ranking=64),
        dvae=DVAEConfig(
            size=32,
            channels=64,
            n_init=32,
            groups=1,
            blocks=1,
            patch=8,
            codes=256,
            quantiser="fsq",
            levels=(4, 4, 4, 4),
            gain=1.0,
            likelihood="normal",
        ),
        transformer=TransformerConfig(
            text_vocab=512, text_tokens=16, image_codes=256, grid=4, dim=64, depth=2, heads=2, attention="dense"
        ),
        clip=_small_clip(vocab=512, size=32, width=64, layers=1, heads=2, tokens=16),
        plans=Plans(
            dvae=Plan(images=8192, batch=16, lr=2e-3, warmup=128, betas=(0.9, 0.99), ema=0.95, clip=4.0),
            transformer=Plan(images=4096, batch=16, lr=3e-3, warmup=128, betas=(0.9, 0.96), ema=0.95, clip=4.0),
            clip=Plan(images=1024, batch=16, lr=1e-3, warmup=128, betas=(0.9, 0.98), ema=0.95, clip=4.0),
        ),
    )


def tiny() -> DalleConfig:
    """72 px, 144 codes a picture of 4,096 patches; the shipped checkpoint. About 22 M parameters in all.

    Many hours on 2 CPU cores (`--dry-run` says how many on yours), minutes on a GPU; lengthen a finished run with
    `--set plans.transformer.images=...`. `pinxit train dalle --preset tiny --data world:gallery --out RUN`
    """
    return DalleConfig(
        vocab=2048,
        data=DataConfig(source="world:gallery", size=72, pictures=400_000, ranking=400_000, detail=True),
        dvae=DVAEConfig(
            size=72,
            channels=256,
            n_init=128,
            groups=1,
            blocks=2,
            decoder_blocks=3,
            gain=1.0,
            patch=6,
            codes=4096,
            quantiser="vq",
            code_dim=108,
            shortcut=True,
            likelihood="normal",
        ),
        transformer=TransformerConfig(
            text_vocab=2048, text_tokens=48, image_codes=4096, grid=12, dim=256, depth=10, heads=4, attention="dense"
        ),
        clip=_small_clip(
            vocab=2048,
            size=72,
            width=256,
            layers=4,
            heads=4,
            tokens=64,
            embed=512,
            # A ResNet learns small shapes from fewer pictures than a ViT; the blocks on top learn who stands where.
            vision=CLIPVisionConfig(size=72, width=64, stages=(2, 6), mixing=2),
        ),
        noise=NoiseConfig(bpe_dropout=0.02, corrupted=True, mirrored=0.15),
        sampling=SamplingConfig(guidance=1.5, temperature=0.9, top_k=16, agreement=2.0),
        spell=True,
        codebook_init=True,
        store="int8",
        plans=Plans(
            dvae=Plan(
                images=150_000,
                batch=32,
                lr=2e-3,
                warmup=3_200,
                betas=(0.9, 0.99),
                ema=0.999,
                clip=1.0,
                decay=1e-4,
                channels_last=True,
            ),
            transformer=Plan(
                images=1_000_000, batch=16, lr=1e-3, warmup=3_200, betas=(0.9, 0.96), decay=4.5e-2, clip=4.0, ema=0.998
            ),
            clip=Plan(
                images=900_000,
                batch=64,
                optimiser="muon",
                lr=1e-3,
                warmup=6_400,
                betas=(0.9, 0.98),
                eps=1e-6,
                decay=0.2,
                clip=1.0,
                ema=0.998,
                channels_last=True,
            ),
        ),
    )


def gpu_small() -> DalleConfig:
    """64 px, 256 codes a picture, rows and columns as in the paper; about 60 M parameters in all.

    About an hour of one H100-class GPU. `pinxit train dalle --preset gpu-small --data world:full --out RUN`
    """
    return DalleConfig(
        vocab=4096,
        data=DataConfig(source="world:full", size=64, pictures=1_000_000, ranking=500_000),
        dvae=DVAEConfig(
            size=64,
            channels=192,
            n_init=128,
            groups=2,
            blocks=2,
            patch=2,
            codes=4096,
            quantiser="fsq",
            levels=(8, 8, 8, 8),
            gain=1.0,
            likelihood="normal",
        ),
        transformer=TransformerConfig(
            text_vocab=4096, text_tokens=48, image_codes=4096, grid=16, dim=576, depth=12, heads=9
        ),
        clip=_small_clip(vocab=4096, size=64, width=384, layers=6, heads=6, tokens=50),
        plans=Plans(
            dvae=Plan(
                images=4_000_000, batch=512, lr=1e-3, warmup=51_200, ema=0.999, clip=1.0, decay=1e-4, channels_last=True
            ),
            transformer=Plan(
                images=5_000_000,
                batch=512,
                lr=1e-3,
                warmup=256_000,
                betas=(0.9, 0.96),
                decay=4.5e-2,
                clip=4.0,
                ema=0.999,
            ),
            clip=Plan(
                images=5_000_000, batch=1024, lr=1e-3, warmup=204_800, betas=(0.9, 0.98), eps=1e-6, decay=0.2, clip=1.0
            ),
        ),
    )


def _small_clip(
    vocab: int,
    size: int,
    width: int,
    layers: int,
    heads: int,
    tokens: int,
    vision: CLIPVisionConfig | None = None,
    embed: int | None = None,
) -> CLIPConfig:
    vision = vision or CLIPVisionConfig(size=size, patch=8, width=width, layers=layers, heads=heads)
    text = CLIPTextConfig(vocab=vocab, tokens=tokens, width=width, layers=layers, heads=heads, eot=EOT)
    return CLIPConfig(
        embed=embed or width, vision=vision, text=text, activation="gelu", mean=(0.5,) * 3, std=(0.5,) * 3
    )


PRESETS: dict[str, Callable[[], DalleConfig]] = {"nano": nano, "tiny": tiny, "gpu-small": gpu_small, "paper": paper}


def preset(name: str) -> DalleConfig:
    """The config called `name`. Raises UsageError for an unknown one."""
    if name not in PRESETS:
        raise UsageError(f"there is no preset '{name}' of dalle; choose from {', '.join(PRESETS)}.")
    return PRESETS[name]()


def with_models(config: DalleConfig, checkpoint: Start) -> DalleConfig:
    """`config` with the models and the tokens of a checkpoint, to train those further on other data.

    Raises CheckpointError where its tokenizer is missing or damaged.
    """
    transformer = checkpoint.config("transformer", TransformerConfig)
    dvae = checkpoint.config("dvae", DVAEConfig)
    return replace(
        config,
        vocab=transformer.text_vocab,
        spell=Tokenizer.open(checkpoint.folder).spell,
        data=replace(config.data, size=max(config.data.size, dvae.size)),
        dvae=dvae,
        transformer=transformer,
        clip=checkpoint.config("clip", CLIPConfig),
    )
