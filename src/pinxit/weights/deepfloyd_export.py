"""Writes our U-Net as diffusers reads DeepFloyd IF's: config.json and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pinxit.errors import CheckpointError, UsageError
from pinxit.files import write_json
from pinxit.models.unet_config import UNetConfig
from pinxit.weights.deepfloyd_names import NORMS, unet_config
from pinxit.weights.diffusers_unet import DOWN, UP, diffusers_names
from pinxit.weights.renaming import Names, written
from pinxit.weights.tensor_files import write_tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"


def save_deepfloyd(state: Mapping[str, Tensor], config: UNetConfig, size: int, folder: Path) -> None:
    """Write the network as a folder for `diffusers.UNet2DConditionModel.from_pretrained`.

    Raises CheckpointError for a network that DeepFloyd IF's classes in diffusers cannot represent.
    """
    about = checked(config, size)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, written(state, lambda ours: Names(diffusers_names(ours, config))), {"format": "pt"})
    write_json(folder / "config.json", about)


def checked(config: UNetConfig, size: int) -> dict[str, Any]:
    """The config.json of a network. Raises CheckpointError for one that diffusers' DeepFloyd IF cannot represent."""
    about = unet_settings(config, size)
    try:
        read_back = unet_config(about, "config.json") if config.groups and config.residual_scale else None
    except (CheckpointError, UsageError):
        read_back = None
    if read_back is None or replace(read_back, residual_scale=config.residual_scale) != config:
        raise CheckpointError(f"no network of DeepFloyd IF is like this one, of channels {list(config.channels)}.")
    return about


def unet_settings(config: UNetConfig, size: int) -> dict[str, Any]:
    """The config.json that `unet_config` reads back."""
    kinds = [{attends: name for name, attends in known.items()} for known in (DOWN, UP)]
    down, up = ([names[attends] for attends in config.attention] for names in kinds)
    norms = {ours: theirs for theirs, ours in NORMS.items()}
    act, scale = config.activation, 1 / (config.residual_scale or 1)
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": size,
        "in_channels": config.inputs + config.low_res,
        "out_channels": config.outputs,
        "block_out_channels": list(config.channels),
        "layers_per_block": list(config.blocks),
        "down_block_types": down,
        "up_block_types": up[::-1],
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "mid_block_only_cross_attention": not config.self_attention,
        "only_cross_attention": not config.self_attention,
        "act_fn": act,
        "attention_head_dim": config.head,
        "cross_attention_dim": config.text_width,
        "cross_attention_norm": norms[config.text_norm],
        "encoder_hid_dim": config.text if config.context else None,
        "encoder_hid_dim_type": "text_proj" if config.context else None,
        "addition_embed_type": "text" if config.pool_heads else None,
        "addition_embed_type_num_heads": config.pool_heads or 64,
        "class_embed_type": "timestep" if config.augmentation else None,
        "time_embedding_dim": config.embed or None,
        "time_embedding_act_fn": act if config.activate_once else None,
        "resnet_skip_time_act": config.activate_once,
        "resnet_out_scale_factor": scale,
        "mid_block_scale_factor": scale,
        "resnet_time_scale_shift": "scale_shift",
        "norm_num_groups": config.groups,
        "dropout": config.dropout,
    }
