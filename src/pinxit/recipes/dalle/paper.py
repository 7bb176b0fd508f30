"""DALL-E as the article trained it."""

from __future__ import annotations

from pinxit.models.clip import CLIPConfig, CLIPTextConfig
from pinxit.models.dvae import DVAEConfig
from pinxit.models.transformer import TransformerConfig
from pinxit.recipes.dalle.config import DalleConfig, DataConfig, NoiseConfig, Plans, SamplingConfig
from pinxit.text.tokenizers import EOT
from pinxit.training.plan import Plan


def paper() -> DalleConfig:
    """Zero-Shot Text-to-Image Generation (Ramesh et al. 2021, arXiv 2102.12092): 256 px, 12 billion parameters.

    Sections 2.1 to 2.5 and appendices A and B; the paper used 64 GPUs for the dVAE and 1,024 for the transformer.
    Differences: the paper halved the transformer's learning rate by hand five times, where this uses a cosine to 1/32.
    Adam's running variance is not clipped to 5 (appendix B.2), and what made 16-bit training work there (a gradient
    scale per block, 16-bit moments, compressed gradients) is not needed with bfloat16 and 32-bit master weights. The
    transformer sees one random crop of every picture, not a new one each epoch. CLIP has the towers of the published
    ViT-B/32 over this tokenizer.
    `pinxit train dalle --preset paper --data SHARDS --out RUN`
    """
    return DalleConfig(
        vocab=16384,
        data=DataConfig(source="world:full", size=384, pictures=250_000_000, ranking=0),
        dvae=DVAEConfig(),
        transformer=TransformerConfig(),
        clip=CLIPConfig(text=CLIPTextConfig(vocab=16384, eot=EOT)),
        noise=NoiseConfig(caption_drop=0.0, reconstructed=0.0),
        sampling=SamplingConfig(guidance=1.0, top_k=0),
        plans=Plans(
            dvae=Plan(
                images=3_000_000 * 512,
                batch=512,
                lr=1e-4,
                final_lr=1.25e-6,
                decay_horizon=1_200_000 * 512,
                decay=1e-4,
                channels_last=True,
            ),
            transformer=Plan(
                images=430_000 * 1024,
                batch=1024,
                lr=4.5e-4,
                final_lr=4.5e-4 / 32,
                warmup=5_000 * 1024,
                betas=(0.9, 0.96),
                decay=4.5e-2,
                clip=4.0,
                ema=0.99,
                ema_every=25,
            ),
            clip=Plan(
                images=32 * 400_000_000,
                batch=32_768,
                lr=5e-4,
                warmup=2_000 * 32_768,
                betas=(0.9, 0.98),
                eps=1e-6,
                decay=0.2,
            ),
        ),
    )
