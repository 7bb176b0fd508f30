"""The settings of DeepFloyd IF's stages I and II in Hugging Face's diffusers (`UNet2DConditionModel`).

`unet_config` knows the blocks that these networks consist of, and no others (after DeepFloyd's conversion script).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.models.unet_config import TextNorm, UNetActivation, UNetConfig
from pinxit.weights.diffusers_unet import attention, channels_of, check_fixed, one_of, per_level, with_defaults

FAMILY = "DeepFloyd IF"

NORMS: dict[str | None, TextNorm] = {None: "none", "layer_norm": "layer", "group_norm": "group"}
ACTIVATIONS: dict[str, UNetActivation] = {"gelu": "gelu", "silu": "silu", "swish": "silu"}
_DEFAULTS: dict[str, Any] = {  # diffusers' defaults of the settings in which our network can differ
    "act_fn": "silu",
    "addition_embed_type": None,
    "addition_embed_type_num_heads": 64,
    "attention_head_dim": 8,
    "class_embed_type": None,
    "cross_attention_dim": 1280,
    "cross_attention_norm": None,
    "dropout": 0.0,
    "encoder_hid_dim": None,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_only_cross_attention": None,
    "mid_block_scale_factor": 1.0,
    "norm_num_groups": 32,
    "only_cross_attention": False,
    "out_channels": 4,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
}
_FIXED: dict[str, tuple[Any, ...]] = {  # field -> diffusers' default, then what DeepFloyd IF's networks may have
    "_class_name": (None, "UNet2DConditionModel"),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", "UNetMidBlock2DSimpleCrossAttn"),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "center_input_sample": (False, False),
    "class_embeddings_concat": (False, False),
    "conv_in_kernel": (3, 3),
    "conv_out_kernel": (3, 3),
    "encoder_hid_dim_type": (None, None, "text_proj"),
    "flip_sin_to_cos": (True, True),
    "freq_shift": (0, 0),
    "norm_eps": (1e-5, 1e-5),
    "num_class_embeds": (None, None),
    "time_cond_proj_dim": (None, None),
    "time_embedding_type": ("positional", "positional"),
    "timestep_post_act": (None, None),
}


def unet_config(described: Mapping[str, Any], where: str) -> UNetConfig:
    """The config of a diffusers config.json. Raises CheckpointError naming the first unsupported field."""
    check_fixed(described, _FIXED, FAMILY, where)
    settings = with_defaults(described, _DEFAULTS)
    channels = channels_of(described, where)
    activation = one_of(settings, "act_fn", ACTIVATIONS, where)
    _agree(settings, where)
    text, width = settings["encoder_hid_dim"], settings["cross_attention_dim"]
    return UNetConfig(
        channels=channels,
        blocks=per_level(settings["layers_per_block"], len(channels)),
        attention=attention(described, FAMILY, where),
        self_attention=not settings["only_cross_attention"],
        inputs=3,
        low_res=settings["in_channels"] - 3,
        outputs=settings["out_channels"],
        head=settings["attention_head_dim"],
        text=text or width,
        context=width if text else 0,
        text_norm=one_of(settings, "cross_attention_norm", NORMS, where),
        pool_heads=one_of(
            settings, "addition_embed_type", {None: 0, "text": settings["addition_embed_type_num_heads"]}, where
        ),
        attend_padding=True,
        augmentation=one_of(settings, "class_embed_type", {None: False, "timestep": True}, where),
        embed=settings["time_embedding_dim"] or 0,
        activation=activation,
        activate_once=settings["resnet_skip_time_act"],
        residual_scale=1 / settings["resnet_out_scale_factor"],
        groups=settings["norm_num_groups"],
        dropout=float(settings["dropout"]),
    )


def _agree(settings: Mapping[str, Any], where: str) -> None:
    """Check fields that are independent in diffusers but not in these networks."""
    once, only = settings["resnet_skip_time_act"], settings["only_cross_attention"]
    act = settings["time_embedding_act_fn"]
    pairs = (
        ("mid_block_scale_factor", settings["mid_block_scale_factor"] == settings["resnet_out_scale_factor"]),
        ("time_embedding_act_fn", act == (settings["act_fn"] if once else None)),
        ("only_cross_attention", isinstance(only, bool)),
        ("mid_block_only_cross_attention", settings["mid_block_only_cross_attention"] in (None, only)),
        ("cross_attention_dim", isinstance(settings["cross_attention_dim"], int)),
        ("attention_head_dim", isinstance(settings["attention_head_dim"], int)),
        ("norm_num_groups", settings["norm_num_groups"] == 32 or settings["cross_attention_norm"] != "group_norm"),
        ("in_channels", settings["in_channels"] in (3, 6)),
    )
    for name, fits in pairs:
        if not fits:
            raise CheckpointError(f"{where}: {name} {settings[name]} does not fit DeepFloyd IF's stages I and II.")
