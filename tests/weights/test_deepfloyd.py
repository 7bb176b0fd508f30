"""DeepFloyd IF's networks from diffusers folders: equal to diffusers, every key used once, all else refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pinxit.errors import CheckpointError
from pinxit.models.unet import UNet
from pinxit.models.unet_shapes import PUBLISHED
from pinxit.weights.deepfloyd import load_deepfloyd
from pinxit.weights.deepfloyd_names import unet_config
from pinxit.weights.diffusers_unet import diffusers_names
from tests.models.test_unet import call
from tests.weights.mapped import listed, mapped_share

diffusers = pytest.importorskip("diffusers")

COMMON: dict[str, Any] = {
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "out_channels": 6,
    "act_fn": "gelu",
    "cross_attention_dim": 64,
    "cross_attention_norm": "group_norm",
    "encoder_hid_dim": 48,
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "resnet_time_scale_shift": "scale_shift",
    "attention_head_dim": 16,
}
STAGE_1 = COMMON | {
    "sample_size": 16,
    "in_channels": 3,
    "block_out_channels": (32, 64, 96),
    "layers_per_block": 2,
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D", "SimpleCrossAttnDownBlock2D"),
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
}
STAGE_2 = COMMON | {
    "sample_size": 32,
    "in_channels": 6,
    "block_out_channels": (32, 64, 96),
    "layers_per_block": (1, 2, 3),
    "down_block_types": ("ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
    "class_embed_type": "timestep",
    "time_embedding_dim": 96,
    "time_embedding_act_fn": "gelu",
    "resnet_skip_time_act": True,
    "resnet_out_scale_factor": 1 / 0.7071,
    "mid_block_scale_factor": 1 / 0.7071,
    "only_cross_attention": False,
}
VARIANTS = {"I": STAGE_1, "II": STAGE_2, "II-M": STAGE_2 | {"only_cross_attention": True}}


def peer(config: dict[str, Any], seed: int = 0) -> Any:
    """diffusers' network with weights at random, the zero-initialised and the norms' too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = diffusers.UNet2DConditionModel(**config).eval().requires_grad_(False)
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return net


def described(net: Any) -> dict[str, Any]:
    """Its config.json."""
    told: dict[str, Any] = json.loads(net.to_json_string())
    return told


def given(config: dict[str, Any]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    side = config["sample_size"]
    told = {
        "x": torch.randn(2, 3, side, side, generator=generator),
        "time": torch.tensor([3.0, 740.0]),
        "sequence": torch.randn(2, 7, 48, generator=generator),
    }
    if config["in_channels"] == 6:
        told["low_res"] = torch.randn(2, 3, side, side, generator=generator)
        told["augmentation"] = torch.tensor([250.0, 10.0])
    return told


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_equal_diffusers(tmp_path: Path, name: str) -> None:
    net = peer(VARIANTS[name])
    net.save_pretrained(tmp_path / "unet")
    ours, told = load_deepfloyd(tmp_path), given(VARIANTS[name])
    sample = torch.cat([told["x"], told["low_res"]], 1) if "low_res" in told else told["x"]
    expected = net(sample, told["time"], told["sequence"], class_labels=told.get("augmentation")).sample
    found = call(ours, **told)
    assert found.shape == expected.shape == (2, 6, *sample.shape[2:])
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    none = torch.zeros(2, 7, dtype=torch.bool)  # these networks were trained on the padding too
    assert torch.equal(call(ours, **told, mask=none), found)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_key_has_one_place(name: str) -> None:
    net = peer(VARIANTS[name])
    config = unet_config(described(net), "config.json")
    with torch.device("meta"):
        ours = UNet(config)
    names = [part for ours_ in ours.state_dict() for part in diffusers_names(ours_, config)]
    assert len(names) == len(set(names))
    assert set(names) == set(net.state_dict())


def published(name: str) -> dict[str, Any]:
    """The hub's config.json of IF-I-XL, and what is known of IF-II-L's."""
    attends = ("SimpleCrossAttnDownBlock2D", "SimpleCrossAttnUpBlock2D")
    plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    told: dict[str, Any] = {"encoder_hid_dim": 4096, "attention_head_dim": 64, "addition_embed_type_num_heads": 64}
    if name == "IF-I-XL":
        told |= {"block_out_channels": (704, 1408, 2112, 2816), "layers_per_block": 3, "cross_attention_dim": 2816}
        return (
            STAGE_1
            | told
            | {
                "down_block_types": (plain[0], *[attends[0]] * 3),
                "up_block_types": (*[attends[1]] * 3, plain[1]),
            }
        )
    told |= {"block_out_channels": (160, 320, 640, 960, 1280), "layers_per_block": (2, 2, 3, 5, 5)}
    told |= {"cross_attention_dim": 1280, "time_embedding_dim": 1280}
    return (
        STAGE_2
        | told
        | {
            "down_block_types": (*[plain[0]] * 3, *[attends[0]] * 2),
            "up_block_types": (*[attends[1]] * 2, *[plain[1]] * 3),
        }
    )


@pytest.mark.parametrize(("name", "parameters"), [("IF-I-XL", 4_304_695_110), ("IF-II-L", 1_243_277_190)])
def test_published_sizes(name: str, parameters: int) -> None:
    """As many parameters as diffusers has for the same config.json, and as our own preset."""
    with torch.device("meta"):
        theirs = diffusers.UNet2DConditionModel(**published(name))
        ours = UNet(PUBLISHED[name])
    assert sum(p.numel() for p in ours.parameters()) == parameters
    assert sum(p.numel() for p in theirs.parameters()) == parameters
    assert unet_config(described(theirs), "config.json") == PUBLISHED[name]


def test_shards_halves_and_the_bare_folder(tmp_path: Path) -> None:
    net, told = peer(STAGE_1), given(STAGE_1)
    net.save_pretrained(tmp_path / "unet", max_shard_size="300KB")
    assert (tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json").is_file()
    whole = call(load_deepfloyd(tmp_path), **told)
    torch.testing.assert_close(call(load_deepfloyd(tmp_path / "unet"), **told), whole, atol=0, rtol=0)
    net.half().save_pretrained(tmp_path / "half", variant="fp16")
    opened = load_deepfloyd(tmp_path / "half")
    assert next(opened.parameters()).dtype == torch.float32
    torch.testing.assert_close(call(opened, **told), whole, atol=0.05, rtol=0)
    assert next(load_deepfloyd(tmp_path / "half", torch.bfloat16).parameters()).dtype == torch.bfloat16


@listed
def test_as_stored_most_weights_stay_in_the_file(tmp_path: Path) -> None:
    """So that ranks on one machine share them, and a process that copies its rows needs no memory for the others."""
    peer(STAGE_1).half().save_pretrained(tmp_path / "unet")
    state = load_deepfloyd(tmp_path, None).state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert mapped_share(state.values(), tmp_path) > 0.6  # the others are stacked from several


def test_every_key_is_accounted_for(tmp_path: Path) -> None:
    peer(STAGE_1).save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    for change, told in (
        ({"extra.weight": torch.zeros(1)}, "unknown extra.weight"),
        ({"conv_in.bias": None}, "lacks conv_in.bias"),
        ({"mid_block.attentions.0.to_k.bias": torch.zeros(3)}, r"to_k.bias of shape \[3\], not \[96\]"),
        ({"conv_in.bias": torch.full((32,), torch.nan)}, r"not finite \(conv_in\.bias\): it is damaged"),
    ):
        save_file({name: t for name, t in (state | change).items() if t is not None}, file)
        with pytest.raises(CheckpointError, match=told):
            load_deepfloyd(tmp_path)


def test_what_is_no_deepfloyd_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_deepfloyd(tmp_path)
    whole = described(peer(STAGE_1))
    for change, told in (
        ({"_class_name": "Transformer2DModel"}, "Transformer2DModel"),
        ({"dropout": None}, r"config\.json has a setting of a kind that it cannot be"),
        ({"act_fn": []}, r"config\.json has a setting of a kind that it cannot be"),
        ({"up_block_types": None}, r"config\.json has a setting of a kind that it cannot be"),
        ({"down_block_types": ["CrossAttnDownBlock2D"] * 3}, "CrossAttnDownBlock2D"),
        ({"class_embed_type": "projection"}, "class_embed_type is projection"),
        ({"resnet_time_scale_shift": "default"}, "scale_shift"),
        ({"resnet_skip_time_act": True}, "time_embedding_act_fn"),
        ({"mid_block_scale_factor": 2.0}, "mid_block_scale_factor"),
        ({"in_channels": 4}, "in_channels"),
        ({"block_out_channels": [32, 64]}, "attention"),
        ({}, "diffusion_pytorch_model.safetensors"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(whole | change))
        with pytest.raises(CheckpointError, match=told):
            load_deepfloyd(tmp_path)
