"""The published U-Nets.

Parameters are counted on the meta device (tests/models/test_unet.py) without the frozen text encoder.
"""

from __future__ import annotations

from dataclasses import replace

from pinxit.models.unet_config import UNetConfig

T5_XXL = 4096  # width of the text encoder that Imagen and DeepFloyd IF read


def imagen_base() -> UNetConfig:
    """Imagen's base at 64 px (Saharia et al. 2022, appendix F): 2,305,382,403 parameters; the paper rounds to 2B.

    GLIDE's base has the same shape and is printed as 2.3B. The paper does not give the width at which the attention
    layers read the text; 2048 is GLIDE's. Reading T5-XXL's 4096 without a projection would make it 2.44B.
    """
    return UNetConfig(
        channels=(512, 1024, 1536, 2048),
        blocks=(3, 3, 3, 3),
        attention=(False, True, True, True),
        text=T5_XXL,
        context=2048,
        groups=32,
    )


def imagen_super_256() -> UNetConfig:
    """Imagen's 64 -> 256 px Efficient U-Net (appendix F, table of blocks): 588,913,283 parameters; printed as 600M.

    The width of the time embedding is not published; with four times the first level's it would be 557M, with 1024 it
    is what the paper rounds to 600M.
    """
    return UNetConfig(
        channels=(128, 256, 512, 1024),
        blocks=(2, 4, 8, 8),
        attention=(False, False, False, True),
        efficient=True,
        low_res=3,
        augmentation=True,
        text=T5_XXL,
        embed=1024,
        groups=32,
    )


def imagen_super_1024() -> UNetConfig:
    """Imagen's 256 -> 1024 px Efficient U-Net, without self-attention: 580,516,483 parameters; printed as 400M.

    The paper's table gives it the same channels and blocks as the 64 -> 256 net, whose convolutions alone are 426M:
    leaving out self-attention takes 8M. The printed 400M therefore cannot come from the printed table; we follow the
    table.
    """
    return replace(imagen_super_256(), self_attention=False)


def deepfloyd_xl() -> UNetConfig:
    """DeepFloyd IF's stage I, XL (the hub's config.json): 4,304,695,110 parameters, printed as 4.3B."""
    return UNetConfig(
        channels=(704, 1408, 2112, 2816),
        blocks=(3, 3, 3, 3),
        attention=(False, True, True, True),
        outputs=6,
        text=T5_XXL,
        context=2816,
        text_norm="group",
        pool_heads=64,
        attend_padding=True,
        activation="gelu",
        groups=32,
    )


def deepfloyd_super_l() -> UNetConfig:
    """DeepFloyd IF's stage II, L (64 -> 256 px): 1,243,277,190 parameters, printed as 1.2B."""
    return replace(
        deepfloyd_xl(),
        channels=(160, 320, 640, 960, 1280),
        blocks=(2, 2, 3, 5, 5),
        attention=(False, False, False, True, True),
        low_res=3,
        context=1280,
        augmentation=True,
        embed=1280,
        activate_once=True,
        residual_scale=0.7071,
    )


def karlo_decoder() -> UNetConfig:
    """Karlo's decoder (the conversion script of diffusers): 893,317,322 parameters, printed as 900M."""
    return UNetConfig(
        channels=(320, 640, 960, 1280),
        blocks=(3, 3, 3, 3),
        attention=(False, True, True, True),
        outputs=6,
        text=768,
        context=1536,
        context_norm=True,
        text_norm="none",
        pool_heads=0,
        pooled=768,
        image=768,
        groups=32,
    )


def karlo_super() -> UNetConfig:
    """Each of Karlo's two networks for 64 -> 256 px: 691,579,523 parameters, printed as 700M."""
    return UNetConfig(
        channels=(320, 640, 960, 1280),
        blocks=(3, 3, 3, 3),
        attention=(False, False, False, False),
        middle=False,
        low_res=3,
        scale_shift=False,
        groups=32,
    )


PUBLISHED = {
    "imagen-base-64": imagen_base(),
    "imagen-super-256": imagen_super_256(),
    "imagen-super-1024": imagen_super_1024(),
    "IF-I-XL": deepfloyd_xl(),
    "IF-II-L": deepfloyd_super_l(),
    "karlo-decoder": karlo_decoder(),
    "karlo-super-256": karlo_super(),
}
