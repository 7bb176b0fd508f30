"""Folders of language models: every layout opens, and what does not fit is refused in one sentence."""

from __future__ import annotations

import json
import math
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pinxit.errors import CheckpointError, PinxitError, UsageError
from pinxit.text import language_models
from pinxit.text.encoders import open_text_encoder
from pinxit.text.pooling import Pooling
from tests.text.tiny_models import TEXTS, opened_as, save_tiny


def test_the_fingerprint_changes_with_weights_words_and_pooling(tmp_path: Path) -> None:
    encoder = opened_as(tmp_path, "bert")
    first = encoder.fingerprint
    assert first == open_text_encoder(tmp_path, length=9).fingerprint and len(first) == 16
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    second = open_text_encoder(tmp_path).fingerprint
    words = tmp_path / "tokenizer.json"
    words.write_text(words.read_text().replace('"cat"', '"cow"'))
    third = open_text_encoder(tmp_path).fingerprint
    assert len({first, second, third}) == 3


def test_pooling_follows_the_folder(tmp_path: Path) -> None:
    save_tiny(tmp_path, "bert")
    (tmp_path / "1_Pooling").mkdir()
    modules = [{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.b.Pooling"}]
    states = open_text_encoder(tmp_path).encode(["a red cat"])
    real = states.sequence[0][states.mask[0]]
    for mode, expected in {
        "mean_tokens": real.mean(0),
        "cls_token": real[0],
        "max_tokens": real.amax(0),
        "mean_sqrt_len_tokens": real.sum(0) / math.sqrt(len(real)),
    }.items():
        told = {"pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True}
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(told))
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        torch.testing.assert_close(open_text_encoder(tmp_path).encode(["a red cat"]).pooled[0], expected)
        (tmp_path / "modules.json").write_text(json.dumps([*modules, {"path": "2", "type": "a.Normalize"}]))
        unit = open_text_encoder(tmp_path).encode(["a red cat"]).pooled[0]
        torch.testing.assert_close(unit, expected / expected.norm())


def test_poolings_that_cannot_be_done_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    for told in (
        '{"pooling_mode_lasttoken": true}',
        '{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}',
    ):
        (tmp_path / "1_Pooling" / "config.json").write_text(told)
        with pytest.raises(CheckpointError, match=r"config\.json asks for a pooling that pinxit does not do"):
            Pooling.of_folder(tmp_path)
    (tmp_path / "modules.json").write_text('[{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(CheckpointError, match=r"modules\.json asks for Dense"):
        Pooling.of_folder(tmp_path)


def test_a_whole_diffusers_folder_opens(tmp_path: Path) -> None:
    save_tiny(tmp_path / "text_encoder", "t5")
    (tmp_path / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "text_encoder" / name).rename(tmp_path / "tokenizer" / name)
    whole, part = open_text_encoder(tmp_path), open_text_encoder(tmp_path / "text_encoder")
    assert torch.equal(whole.encode(TEXTS).sequence, part.encode(TEXTS).sequence)
    assert whole.fingerprint == part.fingerprint


def test_shards_open_like_the_whole(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "whole", "t5")
    save_tiny(tmp_path / "shards", "t5")
    (tmp_path / "shards" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    one, other = (open_text_encoder(tmp_path / name) for name in ("whole", "shards"))
    assert torch.equal(one.encode(TEXTS).sequence, other.encode(TEXTS).sequence)
    next((tmp_path / "shards").glob("*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match=r"index\.json names .*, which is not in the folder"):
        open_text_encoder(tmp_path / "shards")


def refused(folder: Path, told: str, kind: type[PinxitError] = CheckpointError, **options: Any) -> None:
    with pytest.raises(kind, match=told) as caught:
        open_text_encoder(folder, **options)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 600


def test_what_is_no_text_encoder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "there is no folder .*nowhere")
    refused(tmp_path, "has no config.json")
    save_tiny(tmp_path, "bert")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    refused(tmp_path, "holds a gpt2 model, which is no text encoder among t5, deberta-v2, bert")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, r"config\.json is not readable JSON")
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(tmp_path, "only CLIP is read at its penultimate layer", UsageError, penultimate=True)
    refused(tmp_path, "at least 2 and at most 64 tokens: a text length of 65", UsageError, length=65)
    refused(tmp_path, "a text length of 1 is impossible", UsageError, length=1)
    (tmp_path / "tokenizer.json").rename(tmp_path / "away.json")
    refused(tmp_path, "has no tokenizer: it needs one of tokenizer.json, vocab.txt")


def test_damaged_weights_are_refused_in_one_sentence(tmp_path: Path) -> None:
    save_tiny(tmp_path, "bert")
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, "cannot be opened: SafetensorError")
    weights.rename(tmp_path / "pytorch_model.bin")
    refused(tmp_path, r"no model\.safetensors \(it has pytorch_model\.bin, and pickled weights are never read\)")


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_tiny(tmp_path, "bert")
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    for name in [name for name in state if name.startswith("pooler.")]:
        del state[name]  # never asked
    save_file(state, weights, metadata={"format": "pt"})
    open_text_encoder(tmp_path)
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, weights, metadata={"format": "pt"})
    refused(tmp_path, r"lacks the weights encoder\.layer\.1\.output\.dense\.weight")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path, "bert", vocab_size=10)
    refused(tmp_path, "has a tokenizer of 19 tokens, but a model of 10")


def test_without_a_library_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny(tmp_path, "t5")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "transformers", None)
        refused(tmp_path, r'is a t5 model, which needs transformers: pip install .* "\.\[imagen\]"', UsageError)
    (tmp_path / "tokenizer.json").rename(tmp_path / "spiece.model")
    monkeypatch.setattr(language_models, "_installed", lambda _: False)
    refused(tmp_path, "SentencePiece tokenizer, which needs two more packages: pip install", UsageError)


def test_opening_touches_no_network_and_no_global_randomness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    save_tiny(tmp_path, "bert")
    monkeypatch.setattr(socket.socket, "connect", no)
    monkeypatch.setattr(socket, "getaddrinfo", no)
    before = torch.random.get_rng_state()
    open_text_encoder(tmp_path).encode(TEXTS)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_hub_name_opens_like_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    encoder = opened_as(tmp_path, "bert")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    again = open_text_encoder("hub:somebody/bert")
    assert again.name == "hub:somebody/bert" and encoder.name == tmp_path.name
    assert torch.equal(again.encode(TEXTS).sequence, encoder.encode(TEXTS).sequence)
