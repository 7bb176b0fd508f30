"""Published CLIP weights: every layout gives the reference library's outputs, and what does not fit is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pinxit.errors import CheckpointError
from pinxit.models.clip import CLIP, MAX_LOGIT_SCALE, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.recipes.clip.published import open_clip
from pinxit.weights.clip_export import save_open_clip, save_transformers_clip
from pinxit.weights.clip_names import hf_names, openai_names
from pinxit.weights.clip_settings import OPEN_CLIP_TEXT, OPEN_CLIP_VISION, check_settings
from pinxit.weights.public_clip import load_clip_in_parts, load_public_clip
from tests.weights import answers
from tests.weights.answers import TOWERS
from tests.weights.mapped import listed, mapped_share

SMALL = CLIPConfig(
    embed=24,
    vision=CLIPVisionConfig(size=32, patch=8, width=64, layers=2, heads=1),
    text=CLIPTextConfig(vocab=60, tokens=12, width=128, layers=3, heads=2, eot=59),
)
RESNET = CLIPConfig(
    embed=24,
    vision=CLIPVisionConfig(size=64, width=16, stages=(1, 2, 1, 1)),
    text=CLIPTextConfig(vocab=60, tokens=12, width=64, layers=1, heads=1, eot=59),
)


def ours(config: CLIPConfig = SMALL) -> CLIP:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIP(config).eval()
        for name, tensor in model.state_dict().items():  # no weight may hide behind its usual zero or one
            if tensor.is_floating_point() and tensor.ndim and "var" not in name:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model.requires_grad_(False)


def inputs(config: CLIPConfig = SMALL) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = config.vision.size
    ids = torch.randint(1, 58, (3, 12), generator=generator)
    ids[:, 0], ids[0, 5], ids[1, 11], ids[2, 3] = 58, 59, 59, 59
    ids[0, 6:], ids[2, 4:] = 0, 0
    return torch.rand(3, 3, size, size, generator=generator), ids


def openai_state(model: CLIP) -> dict[str, Tensor]:
    return {openai_names(name).parts[0]: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: CLIP, other: CLIP) -> None:
    pictures, ids = inputs(one.config)
    for mine, theirs in zip(one(pictures, ids), other(pictures, ids), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.half() if t.is_floating_point() else t for name, t in state.items()}


def scripted(state: Mapping[str, Tensor], path: Path) -> None:
    """A TorchScript archive whose modules hold `state`, as OpenAI published its models."""

    class Empty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    root = Empty()
    for name, tensor in state.items():
        *owners, leaf = name.split(".")
        node: nn.Module = root
        for owner in owners:
            if owner not in dict(node.named_children()):
                node.add_module(owner, Empty())
            node = node.get_submodule(owner)
        if tensor.is_floating_point():
            node.register_parameter(leaf, nn.Parameter(tensor))
        else:
            node.register_buffer(leaf, tensor)
    for name, number in (("input_resolution", 32), ("context_length", 12), ("vocab_size", 60)):
        root.register_buffer(name, torch.tensor(number))
    torch.jit.save(torch.jit.script(root), str(path))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("config", [SMALL, RESNET], ids=["vit", "resnet"])
def test_openai_archives_open_without_running_their_code(tmp_path: Path, config: CLIPConfig) -> None:
    model = ours(config)
    scripted(halved(openai_state(model)), tmp_path / "m.pt")
    opened = load_public_clip(tmp_path / "m.pt")
    assert opened.config == config and next(opened.parameters()).dtype == torch.float32
    half = CLIP(config).eval()
    half.load_state_dict(halved(model.state_dict()))
    same(opened, half)


def test_norms_whose_counters_a_file_lacks_have_counted_nothing(tmp_path: Path) -> None:
    state = openai_state(ours(RESNET))
    kept = {name: one for name, one in state.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(state)
    save_file({name: one.contiguous() for name, one in kept.items()}, tmp_path / "m.safetensors")
    opened = load_public_clip(tmp_path / "m.safetensors", "quickgelu").state_dict()
    counters = [one for name, one in opened.items() if name.endswith("num_batches_tracked")]
    assert counters and all(one.dtype == torch.int64 and one.item() == 0 for one in counters)


def reference(folder: Path, activation: str = "quick_gelu") -> Any:
    """A tiny random CLIPModel of transformers, saved in `folder`."""
    transformers = pytest.importorskip("transformers")
    tower: dict[str, Any] = {"hidden_act": activation, "projection_dim": 24}
    config = transformers.CLIPConfig(
        text_config=tower
        | {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 2}
        | {"vocab_size": 60, "max_position_embeddings": 12, "eos_token_id": 59, "bos_token_id": 58, "pad_token_id": 0},
        vision_config=tower
        | {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1}
        | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = transformers.CLIPModel(config).eval()
    model.save_pretrained(folder)
    return model


def outputs(reference: Any, model: CLIP) -> tuple[Tensor, Tensor]:
    pictures, ids = inputs()
    with torch.no_grad():
        out = reference(input_ids=ids, pixel_values=(pictures - model.mean) / model.std)
    return out.image_embeds, out.text_embeds


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_folders_of_transformers_give_its_outputs(tmp_path: Path, activation: str) -> None:
    theirs = reference(tmp_path, activation)
    model = load_public_clip(tmp_path)
    assert model.config.activation == activation.replace("_", "")
    pictures, ids = inputs()
    for mine, expected in zip(model(pictures, ids), outputs(theirs, model), strict=False):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)


def in_parts(folder: Path) -> CLIP:
    """A CLIP whose towers lie in two folders below `folder`, as transformers 5 and older ones write them."""
    model = ours(replace(SMALL, text=replace(SMALL.text, eot=59)))
    save_transformers_clip(model, folder / "whole")
    told = json.loads((folder / "whole" / "config.json").read_text())
    state = load_file(folder / "whole" / "model.safetensors")
    for tower, projection in (("text", "text_projection"), ("vision", "visual_projection")):
        (folder / tower).mkdir()
        about = told[f"{tower}_config"] | {"model_type": f"clip_{tower}_model", "projection_dim": 24}
        (folder / tower / "config.json").write_text(json.dumps(about))
        kept = {name: it for name, it in state.items() if name.startswith((f"{tower}_model.", projection))}
        bare = {name.removeprefix("text_model."): it for name, it in kept.items()}  # transformers 5, of a text tower
        save_file(bare, folder / tower / "model.safetensors")
    return model


def test_towers_in_folders_of_their_own_are_one_clip(tmp_path: Path) -> None:
    model = in_parts(tmp_path)
    model.logit_scale.fill_(MAX_LOGIT_SCALE)  # no part tells it; the published ones have grown so far
    same(load_clip_in_parts(tmp_path / "text", tmp_path / "vision", tmp_path / "whole"), model)
    weights = tmp_path / "vision" / "model.safetensors"
    state = load_file(weights)
    del state["visual_projection.weight"]
    save_file(state, weights)
    with pytest.raises(CheckpointError, match=r"vision lacks visual_projection\.weight"):
        load_clip_in_parts(tmp_path / "text", tmp_path / "vision", tmp_path / "whole")
    with pytest.raises(CheckpointError, match="describes no clip_vision_model"):
        load_clip_in_parts(tmp_path / "text", tmp_path / "text", tmp_path / "whole")


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_what_is_wrong_with_a_tower_is_said_of_its_folder(tmp_path: Path, tower: str) -> None:
    in_parts(tmp_path)
    weights, described = tmp_path / tower / "model.safetensors", tmp_path / tower / "config.json"
    state, about = load_file(weights), json.loads(described.read_text())
    own, other = ("text", "visual") if tower == "text" else ("visual", "text")

    def refused(told: str) -> None:
        with pytest.raises(CheckpointError, match=f"{tower}{told}"):
            load_clip_in_parts(tmp_path / "text", tmp_path / "vision", tmp_path / "whole")

    save_file(state | {f"{other}_projection.weight": torch.zeros(24, 128)}, weights)  # would replace the other tower's
    refused(f" has unknown {other}_projection.weight")
    save_file({name: it for name, it in state.items() if "projection" not in name}, weights)
    refused(f" lacks {own}_projection.weight")
    biases = [name for name in state if name.endswith("fc1.bias")]
    save_file(state | {biases[0]: torch.zeros(3)}, weights)
    refused(r" has .*fc1.bias of shape \[3\]")
    save_file(state | {biases[0]: torch.full_like(state[biases[0]], torch.nan)}, weights)
    refused(" has weights that are not finite")
    save_file(state, weights)
    for change, told in (({"hidden_act": "relu"}, " names the activation relu"), ({"hidden_size": "x"}, ": .*size")):
        described.write_text(json.dumps(about | change))
        refused(f"/config.json{told}")


def test_shards_and_buffers_of_older_files_are_read(tmp_path: Path) -> None:
    reference(tmp_path)
    whole = load_public_clip(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors") | {"text_model.embeddings.position_ids": torch.arange(12)[None]}
    names = sorted(tensors)
    places = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    same(load_public_clip(tmp_path), whole)


def test_our_models_open_in_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = ours()
    save_transformers_clip(model, tmp_path)
    theirs = transformers.CLIPModel.from_pretrained(tmp_path).eval()
    pictures, ids = inputs()
    for mine, expected in zip(model(pictures, ids), outputs(theirs, model), strict=False):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)
    again = load_public_clip(tmp_path)
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    with pytest.raises(CheckpointError, match="ResNet"):
        save_transformers_clip(ours(RESNET), tmp_path / "resnet")


@pytest.mark.parametrize("quick", [False, True])
def test_folders_of_open_clip(tmp_path: Path, quick: bool) -> None:
    model = ours(replace(SMALL, activation="quickgelu" if quick else "gelu", mean=(0.5, 0.5, 0.5)))
    save_file(openai_state(model), tmp_path / "open_clip_model.safetensors")
    about = {
        "model_cfg": {"embed_dim": 24, "quick_gelu": quick, "vision_cfg": {"head_width": 64}, "text_cfg": {"heads": 2}},
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(about))
    opened = load_public_clip(tmp_path)
    assert opened.config == model.config
    same(opened, model)


def open_clip_folder(folder: Path, model: CLIP, vision: dict[str, Any], text: dict[str, Any]) -> Path:
    save_file(openai_state(model), folder / "open_clip_model.safetensors")
    about: dict[str, Any] = {"embed_dim": 24, "quick_gelu": model.config.activation == "quickgelu"}
    about |= {"vision_cfg": vision, "text_cfg": text}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": about}))
    return folder


def test_heads_that_open_clip_does_not_name_are_eight(tmp_path: Path) -> None:
    model = ours(replace(SMALL, text=replace(SMALL.text, heads=8)))
    same(load_public_clip(open_clip_folder(tmp_path, model, {}, {})), model)


def test_open_clip_pools_our_texts_where_we_do(tmp_path: Path) -> None:
    """At the id that ends them, which is not the largest of our own tokenizers."""
    model = ours(replace(SMALL, text=replace(SMALL.text, eot=3)))
    save_open_clip(model, tmp_path)
    again, ids = load_public_clip(tmp_path), inputs()[1].masked_fill(inputs()[1] == 59, 3)
    assert again.config == model.config and torch.equal(again.encode_text(ids), model.encode_text(ids))
    told = json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    assert (told["pool_type"], told["eos_id"]) == ("eos", 3)


def test_a_resnet_of_open_clip_with_other_heads_is_refused(tmp_path: Path) -> None:
    open_clip_folder(tmp_path, ours(RESNET), {"head_width": 32}, {"heads": 1})
    with pytest.raises(CheckpointError, match="head_width is 32; pinxit's ResNets have heads of 64 channels"):
        load_public_clip(tmp_path)


@listed
@pytest.mark.parametrize("config", [SMALL, RESNET], ids=["vit", "resnet"])
def test_weights_that_start_a_run_stay_in_the_file(tmp_path: Path, config: CLIPConfig) -> None:
    """In its 16 bits, so that the ranks of a machine share them; read for use they are as they were."""
    model = ours(config)
    save_file(halved(openai_state(model)), tmp_path / "open_clip_model.safetensors")
    towers = {"vision_cfg": {"head_width": 64}, "text_cfg": {"heads": config.text.heads}}
    about = {"model_cfg": {"embed_dim": 24, "quick_gelu": False, **towers}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(about))
    state, used = open_clip(tmp_path).state("clip"), load_public_clip(tmp_path).state_dict()
    for name, tensor in used.items():
        if tensor.is_floating_point():
            assert state[name].dtype == torch.float16 and torch.equal(state[name].float(), tensor), name
    assert mapped_share(state.values(), tmp_path) > 0.9


@pytest.mark.parametrize("activation", ["gelu", "quickgelu"])
@pytest.mark.parametrize("tower", TOWERS)
def test_outputs_equal_open_clip(tmp_path: Path, activation: str, tower: str) -> None:
    """Its own names and shapes of weights, its own way to pool the text; its answers are stored."""
    told = answers.stored("open_clip")[f"{tower} {activation}"]
    vision, text = TOWERS[tower]
    save_file(answers.weights(told["shapes"]), tmp_path / "open_clip_model.safetensors")
    about: dict[str, Any] = {"embed_dim": 24, "quick_gelu": activation == "quickgelu"}
    look = {"mean": [0.0] * 3, "std": [1.0] * 3}
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": about | {"vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": look})
    )
    opened = load_public_clip(tmp_path)
    seen = opened.encode_image(answers.pictures(3, vision["image_size"]))
    torch.testing.assert_close(seen, torch.tensor(told["pictures"]), atol=1e-5, rtol=0)
    read = opened.encode_text(answers.token_ids())
    torch.testing.assert_close(read, torch.tensor(told["texts"]), atol=1e-5, rtol=0)
    save_open_clip(opened, tmp_path / "again")  # the same weights under its names, and the same settings
    before, again = (load_file(folder / "open_clip_model.safetensors") for folder in (tmp_path, tmp_path / "again"))
    assert before.keys() == again.keys()
    assert all(torch.equal(tensor.to(again[name].dtype), again[name]) for name, tensor in before.items())
    told = json.loads((tmp_path / "again/open_clip_config.json").read_text())
    written, size = told["model_cfg"], vision["image_size"]
    assert told["preprocess_cfg"]["size"] == [size, size]
    assert (written["embed_dim"], written["quick_gelu"]) == (24, activation == "quickgelu")
    for section, usual in (("vision_cfg", vision), ("text_cfg", text)):
        assert {name: written[section].get(name) for name in usual} == json.loads(json.dumps(usual))


def test_a_bare_file_must_tell_its_activation(tmp_path: Path) -> None:
    save_file(openai_state(ours()), tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="activation"):
        load_public_clip(tmp_path / "weights.safetensors")
    same(load_public_clip(tmp_path / "weights.safetensors", "quickgelu"), ours())


def test_every_key_is_accounted_for(tmp_path: Path) -> None:
    state, path = openai_state(ours()), tmp_path / "weights.safetensors"
    for change, told in (
        ({"visual.extra": torch.zeros(1)}, "unknown visual.extra"),
        ({"ln_final.bias": None}, "lacks ln_final.bias"),
        ({"visual.ln_post.bias": torch.zeros(3)}, r"visual.ln_post.bias of shape \[3\], not \[64\]"),
        ({"visual.conv1.weight": None}, "holds no CLIP"),
        ({"text_projection": None}, "lacks text_projection"),
        ({"text_projection": torch.zeros(64)}, r"weights\.safetensors has weights of shapes that no CLIP has"),
        ({"visual.conv1.weight": torch.zeros(64, 3)}, "has weights of shapes that no CLIP has"),
        ({"ln_final.weight": torch.tensor(1.0)}, "has weights of shapes that no CLIP has"),
        ({"visual.positional_embedding": torch.zeros(0, 64)}, "has weights of shapes that no CLIP has"),
        ({"visual.positional_embedding": torch.zeros(1, 64)}, "no CLIP has .clip.vision.size must be at least 1"),
    ):
        save_file({name: t for name, t in (state | change).items() if t is not None}, path)
        with pytest.raises(CheckpointError, match=told):
            load_public_clip(path, "quickgelu")


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="bert"):
        load_public_clip(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match="neither"):
        load_public_clip(tmp_path)
    (tmp_path / "x.pt").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load_public_clip(tmp_path / "x.pt")
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"vision_cfg": {"timm_model_name": "vit"}}}')
    with pytest.raises(CheckpointError, match="another library"):
        load_public_clip(tmp_path)


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize("how", ["moved", "null", "missing", "list", "no heads", "words"])
def test_configs_as_they_come(tmp_path: Path, tower: str, how: str) -> None:
    """Older exports keep what counts in *_config_dict; what is null or missing is transformers' default."""
    save_transformers_clip(CLIP(SMALL), tmp_path)
    path = tmp_path / "config.json"
    about = json.loads(path.read_text())
    told = about[f"{tower}_config"]
    if how == "moved":
        about |= {f"{tower}_config_dict": told, f"{tower}_config": {}}
    elif how == "no heads":
        told["num_attention_heads"] = 0
    elif how == "words":
        told["hidden_size"] = "wide"
    elif how == "missing":
        del about[f"{tower}_config"]
    else:
        about[f"{tower}_config"] = None if how == "null" else []
    path.write_text(json.dumps(about))
    if how == "moved":
        assert load_public_clip(tmp_path).config == SMALL
        return
    with pytest.raises(CheckpointError) as refused:  # the defaults are those of another, larger model
        load_public_clip(tmp_path)
    if how in ("no heads", "words"):
        assert f"{tower}_config." in str(refused.value)


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        ("vision_cfg", {"no_ln_pre": True}),
        ("vision_cfg", {"pool_type": "avg"}),
        ("vision_cfg", {"something_new": 1}),
        ("text_cfg", {"pool_type": "last"}),
        ("text_cfg", {"no_causal_mask": True}),
    ],
)
def test_settings_of_open_clip_that_are_not_followed(section: str, setting: dict[str, object]) -> None:
    ours = {"vision_cfg": OPEN_CLIP_VISION, "text_cfg": OPEN_CLIP_TEXT}[section]
    with pytest.raises(CheckpointError, match=f"{next(iter(setting))} is .* does not follow"):
        check_settings(setting, ours, "file")
    usual = {"no_ln_pre": False, "pool_type": "argmax" if section == "text_cfg" else "tok"}
    check_settings({name: usual[name] for name in setting if name in usual}, ours, "file")


def test_names_of_all_layouts_are_different() -> None:
    for names in (openai_names, hf_names):
        parts = [part for name in ours().state_dict() for part in names(name).parts]
        assert len(parts) == len(set(parts))


def test_what_files_beside_the_weights_tell_is_heeded(tmp_path: Path) -> None:
    """Means and spreads of another preprocessing, and the old sign for the end of a text (2: the largest id)."""
    model = ours()
    save_transformers_clip(model, tmp_path)
    looks = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(looks))
    described = json.loads((tmp_path / "config.json").read_text())
    described["text_config"]["eos_token_id"] = 2
    (tmp_path / "config.json").write_text(json.dumps(described))
    found = load_public_clip(tmp_path)
    assert found.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert found.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    ids = inputs()[1]
    assert found.config.text.eot == 59 and torch.equal(found.encode_text(ids), model.encode_text(ids))
