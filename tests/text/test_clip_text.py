"""CLIP's text tower as a text encoder: equal to transformers, last and penultimate layer, and pinxit's own CLIP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pinxit.errors import CheckpointError, UsageError
from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.text.encoders import open_text_encoder
from pinxit.text.tokenizers import Tokenizer
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.zoo import find, shipped
from tests.text.tiny_models import save_random, transformers

TEXTS = ("cat", "", "a cat! a cat", "cat " * 40)
TOWER: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
WORDS = TOWER | {"vocab_size": 516, "max_position_embeddings": 12, "bos_token_id": 514, "pad_token_id": 0}


def save_clip(folder: Path, kind: str, eos: int = 515) -> Any:
    """A tiny CLIP of transformers with a tokenizer of two merges."""
    words = transformers.CLIPTextConfig(**WORDS, eos_token_id=eos, projection_dim=24)
    if kind == "CLIPModel":
        picture = transformers.CLIPVisionConfig(**TOWER, image_size=16, patch_size=8, projection_dim=24)
        config = transformers.CLIPConfig(text_config=words, vision_config=picture, projection_dim=24)
    else:
        config = words
    model = save_random(folder, getattr(transformers, kind), config)
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    (folder / "vocab.json").write_text("{}")
    return model


@pytest.mark.parametrize("eos", [515, 2])
@pytest.mark.parametrize("kind", ["CLIPModel", "CLIPTextModel", "CLIPTextModelWithProjection"])
def test_equals_transformers(tmp_path: Path, kind: str, eos: int) -> None:
    model = save_clip(tmp_path, kind, eos)
    last, earlier = open_text_encoder(tmp_path), open_text_encoder(tmp_path, penultimate=True)
    assert last.length == 12 and last.width == 32 and last.pooled_width == (32 if kind == "CLIPTextModel" else 24)
    said, before = last.encode(TEXTS), earlier.encode(TEXTS)
    for row, ids in enumerate(last.ids(TEXTS, 12)):
        assert (ids[0], ids[-1], ids.count(515)) == (514, 515, 1)
        text_model = model.text_model if kind == "CLIPModel" else model
        expected = text_model(torch.tensor([ids]), output_hidden_states=True)
        state = expected.last_hidden_state[0]
        torch.testing.assert_close(said.sequence[row, : len(ids)], state, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(
            before.sequence[row, : len(ids)], expected.hidden_states[-2][0], atol=2e-5, rtol=1e-4
        )
        pooled = state[-1] if kind == "CLIPTextModel" else model.text_projection(state[-1])
        torch.testing.assert_close(said.pooled[row], pooled, atol=2e-5, rtol=1e-4)
        assert said.mask[row].sum() == len(ids)
    assert last.fingerprint != earlier.fingerprint
    assert torch.equal(last.encode(TEXTS[:1]).sequence[0], said.sequence[0])
    assert last.unknown_words("三 flibbertigibbet") == [], "bytes spell anything"
    assert last.tokens_over_limit(TEXTS[3]) == 30 and int(last.null().mask.sum()) == 2


def test_the_first_id_of_the_vocabulary_is_a_sign_and_no_pad(tmp_path: Path) -> None:
    save_clip(tmp_path, "CLIPTextModel")
    encoder = open_text_encoder(tmp_path)
    assert encoder.ids(["cat!"], None) == [[514, 513, 256, 515]] and encoder.ids(["!!cat"], None)[0][1] == 0
    assert int(encoder.encode(["! ! cat"]).mask.sum()) == 5


@pytest.mark.skipif("tiny" not in shipped(), reason="no shipped checkpoint")
def test_pinxit_s_own_clip() -> None:
    folder = find("tiny")
    encoder, checkpoint = open_text_encoder(folder), open_checkpoint(folder)
    model = CLIP(checkpoint.config("clip", CLIPConfig)).eval()
    checkpoint.load_into("clip", model)
    texts = ["a red cat", "", "two dogs under a tree"]
    with torch.no_grad():
        expected = model.encode_text(torch.from_numpy(Tokenizer.open(folder).encode_clip(texts, encoder.length)))
    assert encoder.unknown_words("a red flibbertigibbet") == ["flibbertigibbet"]
    pooled = encoder.encode(texts).pooled
    torch.testing.assert_close(pooled / pooled.norm(dim=1, keepdim=True), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(UsageError, match=f"at most {encoder.length} tokens"):
        open_text_encoder(folder, length=encoder.length + 1)


def test_layers_that_the_config_does_not_name_are_refused(tmp_path: Path) -> None:
    """They would be left out without a word, and every text read otherwise."""
    save_clip(tmp_path, "CLIPModel")
    path = tmp_path / "config.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"text_config": about["text_config"] | {"num_hidden_layers": 2}}))
    with pytest.raises(CheckpointError, match=r"has unknown text_model\.encoder\.layers\.2.* its config\.json"):
        open_text_encoder(tmp_path)


def test_settings_of_older_exports_are_heeded(tmp_path: Path) -> None:
    """They keep what counts in text_config_dict, as transformers and our own reader of CLIPs know."""
    save_clip(tmp_path, "CLIPModel")
    before, path = open_text_encoder(tmp_path).encode(TEXTS), tmp_path / "config.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"text_config_dict": about["text_config"], "text_config": None}))
    assert torch.equal(open_text_encoder(tmp_path).encode(TEXTS).pooled, before.pooled)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    save_clip(tmp_path, "CLIPTextModel")
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    told, state = json.loads(config.read_text()), load_file(weights)
    for change, sentence in (
        ({"hidden_act": "relu"}, "names the activation relu"),
        ({"intermediate_size": 64}, "MLPs four times as wide"),
        ({"max_position_embeddings": 13}, r"position_embedding\.weight of shape \[12, 32\], not \[13, 32\]"),
    ):
        config.write_text(json.dumps(told | change))
        with pytest.raises(CheckpointError, match=sentence):
            open_text_encoder(tmp_path)
    config.write_text(json.dumps(told))
    damaged = next(name for name in state if name.endswith("layers.1.self_attn.k_proj.weight"))
    save_file(state | {damaged: torch.full_like(state[damaged], torch.nan)}, weights)
    with pytest.raises(CheckpointError, match=r"not finite .*layers\.1\.self_attn\.k_proj\.weight.* is damaged"):
        open_text_encoder(tmp_path)
    del state[next(name for name in state if name.endswith("layers.1.mlp.fc1.bias"))]
    save_file(state, weights)
    with pytest.raises(CheckpointError, match=r"lacks the weights .*layers\.1\.mlp\.fc1\.bias"):
        open_text_encoder(tmp_path)
