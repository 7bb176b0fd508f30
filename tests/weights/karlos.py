"""Tiny networks of Karlo's layout with random weights, as diffusers builds and saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

diffusers = pytest.importorskip("diffusers")
unclip = pytest.importorskip("diffusers.pipelines.deprecated.unclip.text_proj")

EMBED, LENGTH, WIDTH, TOKENS = 12, 9, 24, 3
ATTENDS = ("SimpleCrossAttnDownBlock2D", "SimpleCrossAttnUpBlock2D")
PLAIN = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
PRIOR = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2}
PRIOR |= {"embedding_dim": EMBED, "num_embeddings": LENGTH}
DECODER: dict[str, Any] = {
    "sample_size": 8,
    "layers_per_block": 1,
    "down_block_types": (PLAIN[0], ATTENDS[0]),
    "up_block_types": (ATTENDS[1], PLAIN[1]),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "block_out_channels": (32, 64),
    "in_channels": 3,
    "out_channels": 6,
    "cross_attention_dim": WIDTH,
    "class_embed_type": "identity",
    "attention_head_dim": 16,
    "resnet_time_scale_shift": "scale_shift",
}
PROJECTION = {"clip_extra_context_tokens": TOKENS, "clip_embeddings_dim": EMBED}
PROJECTION |= {"time_embed_dim": 4 * 32, "cross_attention_dim": WIDTH}
SUPER: dict[str, Any] = {
    "sample_size": 16,
    "layers_per_block": 1,
    "down_block_types": (PLAIN[0],) * 2,
    "up_block_types": (PLAIN[1],) * 2,
    "block_out_channels": (32, 64),
    "in_channels": 6,
    "out_channels": 3,
    "add_attention": False,
}


def shaken(build: Any, seed: int) -> Any:
    """A network of diffusers' in which no weight hides behind its usual zero or one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build().eval().requires_grad_(False)
        for parameter in net.parameters():
            if parameter.ndim == 1 or not parameter.any():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return net


def prior(seed: int = 0, **more: Any) -> Any:
    net = shaken(lambda: diffusers.PriorTransformer(**PRIOR | more), seed)
    net.clip_std.abs_().add_(0.5)
    return net


def decoder(seed: int = 1, **more: Any) -> Any:
    return shaken(lambda: diffusers.UNet2DConditionModel(**DECODER | more), seed)


def projection(seed: int = 2, **more: Any) -> Any:
    return shaken(lambda: unclip.UnCLIPTextProjModel(**PROJECTION | more), seed)


def enlarger(seed: int = 3, **more: Any) -> Any:
    return shaken(lambda: diffusers.UNet2DModel(**SUPER | more), seed)


PARTS = {"prior": prior, "decoder": decoder, "text_proj": projection, "super_res_first": enlarger}


def save(folder: Path) -> dict[str, Any]:
    """All networks written below `folder`, and they themselves by the names of their folders."""
    nets = {name: build() for name, build in PARTS.items()} | {"super_res_last": enlarger(4)}
    for name, net in nets.items():
        net.save_pretrained(folder / name)
    return nets
