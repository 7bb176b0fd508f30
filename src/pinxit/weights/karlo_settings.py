"""The config.json files of Karlo's networks; settings that Karlo does not have are refused, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.models.prior import PriorConfig
from pinxit.models.unet_config import UNetConfig
from pinxit.weights.deepfloyd_names import ACTIVATIONS
from pinxit.weights.diffusers_unet import attention, channels_of, check_fixed, one_of, per_level, with_defaults

FAMILY = "Karlo"

_PRIOR_DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 32,
    "attention_head_dim": 64,
    "num_layers": 20,
    "embedding_dim": 768,
    "num_embeddings": 77,
    "embedding_proj_dim": None,
    "clip_embed_dim": None,
    "time_embed_dim": None,
}
_PRIOR_FIXED: dict[str, tuple[Any, ...]] = {  # field -> diffusers' default, then what Karlo's may have
    "_class_name": (None, "PriorTransformer"),
    "additional_embeddings": (4, 4),
    "added_emb_type": ("prd", "prd"),
    "encoder_hid_proj_type": ("linear", "linear"),
    "time_embed_act_fn": ("silu", "silu"),
    "norm_in_type": (None, None),
    "embedding_proj_norm_type": (None, None),
}
_UNET_FIXED: dict[str, tuple[Any, ...]] = {  # of all three
    "center_input_sample": (False, False),
    "flip_sin_to_cos": (True, True),
    "freq_shift": (0, 0),
    "mid_block_scale_factor": (1, 1),
    "norm_eps": (1e-5, 1e-5),
    "num_class_embeds": (None, None),
    "time_embedding_type": ("positional", "positional"),
}
_DECODER_FIXED = _UNET_FIXED | {
    "_class_name": (None, "UNet2DConditionModel"),
    "addition_embed_type": (None, None),
    "class_embed_type": (None, "identity"),
    "class_embeddings_concat": (False, False),
    "conv_in_kernel": (3, 3),
    "conv_out_kernel": (3, 3),
    "cross_attention_norm": (None, None),
    "encoder_hid_dim": (None, None),
    "encoder_hid_dim_type": (None, None),
    "in_channels": (4, 3),
    "out_channels": (4, 6),
    "mid_block_only_cross_attention": (None, None, False),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", "UNetMidBlock2DSimpleCrossAttn"),
    "only_cross_attention": (False, False),
    "resnet_out_scale_factor": (1.0, 1.0),
    "resnet_skip_time_act": (False, False),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "time_cond_proj_dim": (None, None),
    "time_embedding_act_fn": (None, None),
    "timestep_post_act": (None, None),
}
_SUPER_FIXED = _UNET_FIXED | {
    "_class_name": (None, "UNet2DModel"),
    "add_attention": (True, False),
    "class_embed_type": (None, None),
    "in_channels": (3, 6),
    "out_channels": (3, 3),
    "mid_block_type": ("UNetMidBlock2D", "UNetMidBlock2D"),
}
_UNET_DEFAULTS: dict[str, Any] = {
    "act_fn": "silu",
    "attention_head_dim": 8,
    "cross_attention_dim": 1280,
    "dropout": 0.0,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "resnet_time_scale_shift": "default",
    "time_embedding_dim": None,
}
_PROJECTION_DEFAULTS: dict[str, Any] = {
    "clip_extra_context_tokens": 4,
    "clip_embeddings_dim": 768,
    "time_embed_dim": None,
    "cross_attention_dim": None,
}


def prior_config(described: Mapping[str, Any], where: str) -> PriorConfig:
    """The config of the prior. Raises CheckpointError naming the first setting that is not Karlo's."""
    check_fixed(described, _PRIOR_FIXED, FAMILY, where)
    settings = with_defaults(described, _PRIOR_DEFAULTS)
    heads, embed = _number(settings, "num_attention_heads", where), _number(settings, "embedding_dim", where)
    width = heads * _number(settings, "attention_head_dim", where)
    for name, own in (("time_embed_dim", width), ("embedding_proj_dim", embed), ("clip_embed_dim", embed)):
        if settings[name] not in (None, own):
            raise CheckpointError(f"{where}: {name} is {settings[name]}; {FAMILY}'s prior has {own}.")
    return PriorConfig(
        components=embed,
        embed=embed,
        text=embed,
        length=_number(settings, "num_embeddings", where),
        width=width,
        layers=_number(settings, "num_layers", where),
        heads=heads,
        pads="hidden",
        pooled="raw",
    )


def decoder_config(unet: Mapping[str, Any], projection: Mapping[str, Any], where: tuple[str, str]) -> UNetConfig:
    """The config of the decoder, from two config.json files, the U-Net's and `text_proj`'s; `where`: their paths.

    Raises CheckpointError naming the first setting that is not Karlo's, or that contradicts the other file.
    """
    check_fixed(unet, _DECODER_FIXED, FAMILY, where[0])
    check_fixed(projection, {"_class_name": (None, "UnCLIPTextProjModel")}, FAMILY, where[1])
    settings, projected = with_defaults(unet, _UNET_DEFAULTS), with_defaults(projection, _PROJECTION_DEFAULTS)
    channels = channels_of(unet, where[0])
    width = settings["time_embedding_dim"] or 4 * channels[0]
    for name, own in (("time_embed_dim", width), ("cross_attention_dim", settings["cross_attention_dim"])):
        if projected[name] != own:
            raise CheckpointError(f"{where[1]}: {name} is {projected[name]}, and the decoder's is {own}.")
    embed = _number(projected, "clip_embeddings_dim", where[1])
    return UNetConfig(
        attention=attention(unet, FAMILY, where[0]),
        outputs=6,
        head=_number(settings, "attention_head_dim", where[0]),
        text=embed,
        context=_number(settings, "cross_attention_dim", where[0]),
        context_norm=True,
        text_norm="none",
        pool_heads=0,
        pooled=embed,
        image=embed,
        image_tokens=_number(projected, "clip_extra_context_tokens", where[1]),
        **_shape(settings, channels, where[0]),
    )


def super_config(described: Mapping[str, Any], where: str) -> UNetConfig:
    """The config of a super-resolution network. Raises CheckpointError naming the first setting that is not Karlo's."""
    check_fixed(described, _SUPER_FIXED, FAMILY, where)
    settings, channels = with_defaults(described, _UNET_DEFAULTS), channels_of(described, where)
    attends = attention(described, FAMILY, where)
    if any(attends):
        raise CheckpointError(f"{where}: down_block_types attend; {FAMILY}'s networks that enlarge do not.")
    shift = {"default": False, "scale_shift": True}
    return UNetConfig(
        attention=attends,
        middle=False,
        low_res=3,
        outputs=3,
        scale_shift=one_of(settings, "resnet_time_scale_shift", shift, where),
        **_shape(settings, channels, where),
    )


def _shape(settings: Mapping[str, Any], channels: tuple[int, ...], where: str) -> dict[str, Any]:
    return {
        "channels": channels,
        "blocks": per_level(settings["layers_per_block"], len(channels)),
        "embed": settings["time_embedding_dim"] or 0,
        "activation": one_of(settings, "act_fn", ACTIVATIONS, where),
        "groups": settings["norm_num_groups"],
        "dropout": float(settings["dropout"]),
    }


def _number(settings: Mapping[str, Any], name: str, where: str) -> int:
    value = settings[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{where}: {name} is {value}; it must be a whole number above 0.")
    return value
