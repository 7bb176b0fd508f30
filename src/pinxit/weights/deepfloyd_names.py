"""What the weights and settings of a U-Net are called by Hugging Face's diffusers (`UNet2DConditionModel`).

`diffusers_names` translates one of our names, `unet_config` a config.json; both know the blocks that DeepFloyd IF's
stages I and II are made of, and nothing else (specification: the key map of DeepFloyd's own conversion).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.models.unet_config import TextNorm, UNetActivation, UNetConfig

_RULES = (  # ours -> diffusers', in this order
    (r"^conditioning\.time\.", "time_embedding."),
    (r"^conditioning\.augmentation\.", "class_embedding."),
    (r"^conditioning\.context\.", "encoder_hid_proj."),
    (r"^conditioning\.pooled\.", "add_embedding."),
    (r"\.pool\.position$", ".pool.positional_embedding"),
    (r"\.pool\.(q|k|v)(uery|ey|alue)\.", r".pool.\1_proj."),
    (r"_embedding\.first\.", "_embedding.linear_1."),
    (r"_embedding\.second\.", "_embedding.linear_2."),
    (r"^stem\.", "conv_in."),
    (r"^norm\.", "conv_norm_out."),
    (r"^out\.", "conv_out."),
    (r"^body\.middle\.(\d+)\.res\.", r"mid_block.resnets.\1."),
    (r"^body\.middle\.(\d+)\.attention\.", r"mid_block.attentions.\1."),
    (r"^body\.(down|up)\.(\d+)\.blocks\.(\d+)\.res\.", r"\1_blocks.\2.resnets.\3."),
    (r"^body\.(down|up)\.(\d+)\.blocks\.(\d+)\.attention\.", r"\1_blocks.\2.attentions.\3."),
    (r"^body\.(down|up)\.(\d+)\.resample\.", r"\1_blocks.\2.\1samplers.0."),
    (r"(resnets\.\d+|samplers\.0)\.lead\.", r"\1.time_emb_proj."),
    (r"(resnets\.\d+|samplers\.0)\.shortcut\.", r"\1.conv_shortcut."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.text_norm\.", r"\1.norm_cross."),
    (r"(attentions\.\d+)\.out\.", r"\1.to_out.0."),
)
_PACKED = {"qkv": ("to_q", "to_k", "to_v"), "text_kv": ("add_k_proj", "add_v_proj")}


def diffusers_names(ours: str, config: UNetConfig) -> tuple[str, ...]:
    """Where our tensor lies in diffusers' layout: whole, or as equal parts stacked along the first axis."""
    name = ours
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    packed, leaf = name.split(".")[-2:]
    if packed not in _PACKED:
        return (name,)
    parts = _PACKED[packed] if packed == "text_kv" or config.self_attention else ("to_q",)
    return tuple(f"{name.removesuffix(f'{packed}.{leaf}')}{part}.{leaf}" for part in parts)


_DOWN = {"ResnetDownsampleBlock2D": False, "SimpleCrossAttnDownBlock2D": True}  # name -> whether it attends
_UP = {"ResnetUpsampleBlock2D": False, "SimpleCrossAttnUpBlock2D": True}
_NORMS: dict[str | None, TextNorm] = {None: "none", "layer_norm": "layer", "group_norm": "group"}
_ACTIVATIONS: dict[str, UNetActivation] = {"gelu": "gelu", "silu": "silu", "swish": "silu"}
_DEFAULTS: dict[str, Any] = {  # what diffusers takes where a config.json says nothing, if our network can differ in it
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
    """The config that a diffusers config.json describes. Raises CheckpointError naming the first foreign field."""
    for name, (default, *known) in _FIXED.items():
        if (value := described.get(name, default)) not in known:
            expected = " or ".join(map(str, known))
            raise CheckpointError(f"{where}: {name} is {value}; DeepFloyd IF's networks have {expected}.")
    settings = {name: described.get(name, default) for name, default in _DEFAULTS.items()}
    levels = len(described.get("block_out_channels", ()))
    activation = _one_of(settings, "act_fn", _ACTIVATIONS, where)
    _agree(settings, where)
    text, width = settings["encoder_hid_dim"], settings["cross_attention_dim"]
    return UNetConfig(
        channels=tuple(described.get("block_out_channels", ())),
        blocks=_per_level(settings["layers_per_block"], levels),
        attention=_attention(described, where),
        self_attention=not settings["only_cross_attention"],
        inputs=3,
        low_res=settings["in_channels"] - 3,
        outputs=settings["out_channels"],
        head=settings["attention_head_dim"],
        text=text or width,
        context=width if text else 0,
        text_norm=_one_of(settings, "cross_attention_norm", _NORMS, where),
        pool_heads=_one_of(
            settings, "addition_embed_type", {None: 0, "text": settings["addition_embed_type_num_heads"]}, where
        ),
        attend_padding=True,
        augmentation=_one_of(settings, "class_embed_type", {None: False, "timestep": True}, where),
        embed=settings["time_embedding_dim"] or 0,
        activation=activation,
        activate_once=settings["resnet_skip_time_act"],
        residual_scale=1 / settings["resnet_out_scale_factor"],
        groups=settings["norm_num_groups"],
        dropout=float(settings["dropout"]),
    )


def _one_of(settings: Mapping[str, Any], name: str, known: Mapping[Any, Any], where: str) -> Any:
    if settings[name] not in known:
        choices = ", ".join(str(one) for one in known)
        raise CheckpointError(f"{where}: {name} is {settings[name]}; pinxit knows {choices}.")
    return known[settings[name]]


def _per_level(value: int | list[int], levels: int) -> tuple[int, ...]:
    return (value,) * levels if isinstance(value, int) else tuple(value)


def _attention(described: Mapping[str, Any], where: str) -> tuple[bool, ...]:
    """Which levels attend; the same on both ways."""
    levels = []
    for name, known in (("down_block_types", _DOWN), ("up_block_types", _UP)):
        kinds = described.get(name, ("CrossAttnDownBlock2D",))
        for kind in kinds:
            if kind not in known:
                raise CheckpointError(f"{where}: {name} has {kind}; DeepFloyd IF's have {' and '.join(known)}.")
        levels.append(tuple(known[kind] for kind in kinds))
    down, up = levels
    if down != up[::-1]:
        raise CheckpointError(f"{where}: up_block_types attends at other levels than down_block_types.")
    return down


def _agree(settings: Mapping[str, Any], where: str) -> None:
    """Fields that diffusers sets apart and these networks set together."""
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
