"""Karlo's networks from diffusers folders: equal to diffusers, every key used once, all else refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pinxit.errors import CheckpointError
from pinxit.models.prior import DiffusionPrior
from pinxit.models.unet import UNet
from pinxit.models.unet_shapes import karlo_decoder, karlo_super
from pinxit.weights.diffusers_unet import diffusers_names
from pinxit.weights.karlo import load_decoder, load_prior, load_supers
from pinxit.weights.karlo_names import MEAN, NOTHING, SPREAD, decoder_names, prior_names
from pinxit.weights.karlo_settings import decoder_config, prior_config, super_config
from tests.models.test_unet import call
from tests.weights import karlos
from tests.weights.karlos import EMBED, LENGTH, TOKENS, diffusers, unclip


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("karlo")
    return folder, karlos.save(folder)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mask() -> Tensor:
    """Of a text of four tokens, and of one as long as can be."""
    return torch.arange(LENGTH)[None] < torch.tensor([[4], [LENGTH]])


TIMES = torch.tensor([3.0, 740.0])


def close(found: Tensor, wanted: Tensor, atol: float = 2e-5) -> None:
    assert found.shape == wanted.shape and float(wanted.std()) > 0.05
    torch.testing.assert_close(found, wanted, atol=atol, rtol=0)


def test_the_prior_equals_diffusers(nets: tuple[Path, dict[str, Any]]) -> None:
    folder, peers = nets
    x, sequence, pooled = drawn(0, 2, EMBED), drawn(1, 2, LENGTH, EMBED), 5 * drawn(2, 2, EMBED)
    wanted = peers["prior"](x, TIMES, pooled, sequence, mask()).predicted_image_embedding
    ours = load_prior(folder)
    told = {"sequence": sequence, "mask": mask(), "pooled": pooled}
    close(ours.network(x, TIMES, told), wanted)
    close(ours.network(x, TIMES, {name: told[name] for name in ("sequence", "pooled")})[1:], wanted[1:])
    close(ours.mean + x * ours.spread, peers["prior"].post_process_latents(x))
    junk = torch.where(mask()[:, :, None], sequence, 99.0)
    close(ours.network(x, TIMES, told | {"sequence": junk}), wanted)


def test_the_decoder_equals_diffusers(nets: tuple[Path, dict[str, Any]]) -> None:
    """With an embedding, and with what stands for none: `text_proj` and the U-Net together."""
    folder, peers = nets
    x, sequence, pooled, z = drawn(0, 1, 3, 8, 8), drawn(1, 2, LENGTH, EMBED), drawn(2, 2, EMBED), drawn(3, 1, EMBED)
    context, embed = peers["text_proj"](
        image_embeddings=z, prompt_embeds=pooled, text_encoder_hidden_states=sequence, do_classifier_free_guidance=True
    )
    seen = torch.nn.functional.pad(mask(), (TOKENS, 0), value=True)
    x = torch.cat([x, x])
    wanted = peers["decoder"](x, TIMES, context, class_labels=embed, attention_mask=seen).sample
    ours = load_decoder(folder)
    image = torch.stack([ours.nothing, z[0]])
    found = call(ours.network, x, TIMES, sequence=sequence, mask=mask(), pooled=pooled, image=image)
    close(found, wanted, 1e-4)


def test_the_networks_that_enlarge_equal_diffusers(nets: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, peers = nets
    x, low_res = drawn(0, 2, 3, 16, 16), drawn(1, 2, 3, 16, 16)
    for name, ours in zip(("super_res_first", "super_res_last"), load_supers(folder), strict=True):
        wanted = peers[name](torch.cat([x, low_res], 1), TIMES).sample
        close(call(ours, x, TIMES, low_res=low_res), wanted, 1e-4)
    shifting = karlos.enlarger(resnet_time_scale_shift="scale_shift")
    for name in ("super_res_first", "super_res_last"):
        shifting.save_pretrained(tmp_path / name)
    wanted = shifting(torch.cat([x, low_res], 1), TIMES).sample
    close(call(load_supers(tmp_path)[0], x, TIMES, low_res=low_res), wanted, 1e-4)


def described(net: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(net.to_json_string())
    return told


def test_every_key_has_one_place(nets: tuple[Path, dict[str, Any]]) -> None:
    _, peers = nets
    configs = {name: described(net) for name, net in peers.items()}
    with torch.device("meta"):
        first = DiffusionPrior(prior_config(configs["prior"], ""))
        config = decoder_config(configs["decoder"], configs["text_proj"], ("", ""))
        second, third = UNet(config), UNet(super_config(configs["super_res_first"], ""))
    of_unet, of_projection = decoder_names(config, second.state_dict())
    assert {*of_unet, *of_projection} == set(second.state_dict())
    found = {
        "prior": [name for ours in first.state_dict() for name in prior_names(ours)] + [MEAN, SPREAD],
        "decoder": [name for names in of_unet.values() for name in names],
        "text_proj": [name for names in of_projection.values() for name in names] + [NOTHING],
        "super_res_first": [name for ours in third.state_dict() for name in diffusers_names(ours, third.config)],
    }
    for part, names in found.items():
        assert len(names) == len(set(names))
        assert set(names) == set(peers[part].state_dict()), part


def test_published_sizes() -> None:
    """As many parameters as diffusers has for the settings of the published folders, and as our own presets."""
    levels = {"layers_per_block": 3, "block_out_channels": (320, 640, 960, 1280)}
    down, up = zip(karlos.PLAIN, *[karlos.ATTENDS] * 3, strict=True)
    unet = karlos.DECODER | levels | {"sample_size": 64, "cross_attention_dim": 1536, "attention_head_dim": 64}
    unet |= {"down_block_types": down, "up_block_types": up[::-1]}
    large = karlos.SUPER | levels | {"sample_size": 256}
    large |= {"down_block_types": (karlos.PLAIN[0],) * 4, "up_block_types": (karlos.PLAIN[1],) * 4}
    with torch.device("meta"):
        prior = diffusers.PriorTransformer()
        decoder = diffusers.UNet2DConditionModel(**unet)
        projection = unclip.UnCLIPTextProjModel(time_embed_dim=1280, cross_attention_dim=1536)
        enlarger = diffusers.UNet2DModel(**large)
        first = DiffusionPrior(prior_config(described(prior), ""))
    config = decoder_config(described(decoder), described(projection), ("", ""))
    assert (config, super_config(described(enlarger), "")) == (karlo_decoder(), karlo_super())
    assert size(first) + 2 * 768 == size(prior)
    with torch.device("meta"):
        ours = UNet(config), UNet(karlo_super())
    assert size(ours[0]) + 768 == size(decoder) + size(projection)
    assert size(ours[1]) == size(enlarger)


def size(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_halves_and_shards(nets: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, peers = nets
    peers["prior"].save_pretrained(tmp_path / "prior", max_shard_size="20KB")
    assert (tmp_path / "prior" / "diffusion_pytorch_model.safetensors.index.json").is_file()
    whole, again = load_prior(folder).network.state_dict(), load_prior(tmp_path).network.state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    half = load_decoder(folder, torch.bfloat16).network
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


LOADERS: dict[str, Callable[[Path], Any]] = {
    "prior": load_prior,
    "decoder": load_decoder,
    "text_proj": load_decoder,
    "super_res_first": load_supers,
    "super_res_last": load_supers,
}


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("prior", {"extra": torch.zeros(1)}, "prior has unknown extra"),
        ("prior", {"clip_std": None}, "prior lacks clip_std"),
        ("prior", {"clip_std": torch.zeros(1, EMBED)}, "clip_std that is no spread"),
        (
            "prior",
            {"clip_std": torch.tensor([[*[1.0] * (EMBED - 1), torch.inf]])},
            r"not finite \(clip_std\)",
        ),
        ("prior", {"clip_std": torch.tensor([[*[1.0] * (EMBED - 1), -1.0]])}, "clip_std that is no spread"),
        (
            "prior",
            {"clip_mean": torch.tensor([[*[1.0] * (EMBED - 1), torch.nan]])},
            r"not finite \(clip_mean\)",
        ),
        ("prior", {"prd_embedding": torch.zeros(2, 1, 16)}, r"prd_embedding of shape \[2, 1, 16\], not \[16\]"),
        ("decoder", {"conv_in.bias": None}, "decoder lacks conv_in.bias"),
        ("decoder", {"class_embedding.linear_1.weight": torch.zeros(1)}, "decoder has unknown class_embedding"),
        ("decoder", {"conv_in.bias": torch.full((32,), torch.nan)}, r"decoder has .* not finite \(conv_in\.bias\)"),
        ("text_proj", {NOTHING: torch.full((EMBED,), torch.nan)}, rf"text_proj has .* not finite \({NOTHING}\)"),
        (
            "text_proj",
            {"embedding_proj.bias": torch.full((128,), torch.inf)},
            r"text_proj .*embedding_proj\.bias\)",
        ),
        ("text_proj", {NOTHING: None}, f"text_proj lacks {NOTHING}"),
        ("text_proj", {"extra": torch.zeros(1)}, "text_proj has unknown extra"),
        ("super_res_last", {"conv_out.weight": torch.zeros(3)}, r"conv_out.weight of shape \[3\]"),
    ],
)
def test_every_key_is_accounted_for(
    nets: tuple[Path, dict[str, Any]], tmp_path: Path, part: str, change: dict[str, Tensor | None], told: str
) -> None:
    shutil.copytree(nets[0], tmp_path / "karlo")
    file = tmp_path / "karlo" / part / "diffusion_pytorch_model.safetensors"
    state = load_file(file) | change
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, file)
    refused(LOADERS[part], tmp_path / "karlo", told)


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("prior", {"_class_name": "UNet2DModel"}, "_class_name is UNet2DModel"),
        ("prior", {"added_emb_type": None}, "added_emb_type"),
        ("prior", {"norm_in_type": "layer"}, "norm_in_type"),
        ("prior", {"clip_embed_dim": 7}, "clip_embed_dim is 7"),
        ("prior", {"num_layers": "two"}, "num_layers"),
        ("prior", {"num_layers": 3}, "prior lacks transformer_blocks.2"),
        ("decoder", {"class_embed_type": "timestep"}, "class_embed_type"),
        ("decoder", {"out_channels": 3}, "out_channels is 3"),
        ("decoder", {"block_out_channels": 32}, "block_out_channels is 32"),
        ("decoder", {"block_out_channels": []}, r"decoder/config\.json has a setting of a kind"),
        ("decoder", {"dropout": "much"}, r"decoder/config\.json has a setting of a kind that it cannot be .*much"),
        ("decoder", {"attention_head_dim": [8, 16]}, "attention_head_dim"),
        ("decoder", {"down_block_types": [karlos.PLAIN[0]] * 2}, "up_block_types attends"),
        ("text_proj", {"cross_attention_dim": 48}, "cross_attention_dim is 48, and the decoder's is 24"),
        ("text_proj", {"time_embed_dim": 64}, "time_embed_dim is 64, and the decoder's is 128"),
        ("super_res_first", {"add_attention": True}, "add_attention"),
        ("super_res_last", {"in_channels": 3}, "in_channels is 3"),
    ],
)
def test_settings_that_are_not_karlos_are_refused(
    nets: tuple[Path, dict[str, Any]], tmp_path: Path, part: str, change: dict[str, Any], told: str
) -> None:
    shutil.copytree(nets[0], tmp_path / "karlo")
    file = tmp_path / "karlo" / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    refused(LOADERS[part], tmp_path / "karlo", told)


def refused(load: Callable[[Path], Any], folder: Path, told: str) -> None:
    with pytest.raises(CheckpointError, match=told) as error:
        load(folder)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    for part, load in LOADERS.items():
        if part not in ("text_proj", "super_res_last"):
            refused(load, tmp_path, "has no")
