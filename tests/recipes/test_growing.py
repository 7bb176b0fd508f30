"""Going on from a checkpoint with other tokens and more layers: the grown model says what the old one said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.recipes.dalle.growing import GrownWeights, Tokens
from pinxit.text.tokenizers import EOT, Tokenizer
from pinxit.training import initial
from pinxit.training.initial import OwnRows, in_shards, network
from pinxit.training.local import span_of
from pinxit.training.parallel import Ranks

CAPTIONS = ["a red cube", "a blue cube on a red cube", "三个红色的立方体"]
OLD = Tokens(Tokenizer.train(CAPTIONS * 9, 300), 310)
NEW = Tokens(Tokenizer.train(["a green cone and a red cube", *CAPTIONS] * 9, 320), 330)
SMALL = TransformerConfig(310, text_tokens=12, image_codes=16, grid=3, dim=32, depth=2, heads=2, attention="dense")


def ids(tokens: Tokens, length: int = 12) -> torch.Tensor:
    return torch.from_numpy(tokens.tokenizer.encode(CAPTIONS, length))


def test_the_two_tokenizers_number_their_tokens_differently() -> None:
    assert (ids(OLD) != ids(NEW)).any()


def test_a_grown_transformer_draws_what_the_old_one_drew() -> None:
    old = TokenTransformer(SMALL, seed=1)
    new = TokenTransformer(replace(SMALL, text_vocab=330, depth=4), seed=2)
    new.load_state_dict(GrownWeights("transformer", new, old.state_dict(), OLD, NEW))
    codes = torch.randint(16, (3, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(new(ids(NEW), codes)[1], old(ids(OLD), codes)[1])


def test_longer_captions_keep_the_old_places_and_their_pads() -> None:
    old, new = TokenTransformer(SMALL, seed=1), TokenTransformer(replace(SMALL, text_vocab=330, text_tokens=20), seed=2)
    state = GrownWeights("transformer", new, old.state_dict(), OLD, NEW)
    torch.testing.assert_close(state["embed.text_place"][:12], old.embed.text_place.data)
    torch.testing.assert_close(state["embed.text"][330:342], old.embed.text.data[310:])
    torch.testing.assert_close(state["embed.text"][342:], new.embed.text.data[342:])


def test_a_clip_in_a_wider_space_keeps_what_it_said_in_the_old_one() -> None:
    vision = CLIPVisionConfig(size=16, patch=8, width=32, layers=1, heads=2)
    text = CLIPTextConfig(vocab=310, tokens=14, width=32, layers=1, heads=2, eot=EOT)
    small = CLIPConfig(embed=8, vision=vision, text=text)
    old, new = CLIP(small), CLIP(replace(small, embed=12, text=replace(text, vocab=330, layers=3)))
    new.load_state_dict(GrownWeights("clip", new, old.state_dict(), OLD, NEW))
    for tower in ("visual", "text"):
        assert torch.equal(getattr(new, tower).proj[:, :8], getattr(old, tower).proj)
    said = [torch.from_numpy(t.tokenizer.encode_clip(CAPTIONS, 14)) for t in (OLD, NEW)]
    torch.testing.assert_close(new.text(said[1])[:, :8], old.text(said[0]))


@pytest.mark.parametrize("dim", [16, 32, 48])
def test_models_of_another_width_begin_with_the_common_corner(dim: int) -> None:
    old = TokenTransformer(SMALL, seed=1)
    new = TokenTransformer(replace(SMALL, text_vocab=330, dim=dim), seed=2)
    state, common = GrownWeights("transformer", new, old.state_dict(), OLD, NEW), min(dim, 32)
    known, rows = OLD.tokenizer.rows(), NEW.tokenizer.rows()
    for token in known.keys() & rows.keys():
        for name, own in (("embed.text", old.embed.text), ("text_head", old.text_head)):
            assert torch.equal(state[name][rows[token], :common], own[known[token], :common]), (name, token)
    assert torch.equal(state["embed.text"][:, common:], new.embed.text[:, common:])
    assert torch.equal(state["embed.text_place"][:, :common], old.embed.text_place[:, :common])
    for one, other in zip(  # queries, keys and values
        state["blocks.0.qkv.weight"].chunk(3), old.state_dict()["blocks.0.qkv.weight"].chunk(3), strict=True
    ):
        assert torch.equal(one[:common, :common], other[:common, :common])
    new.load_state_dict(state)


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("convolves", [False, True])
def test_places_of_a_picture_are_copied_by_row_and_column(size: int, convolves: bool) -> None:
    vision = CLIPVisionConfig(size=64, patch=16, width=8, layers=1, heads=2)
    if convolves:
        vision = replace(vision, stages=(1, 1, 1), mixing=1, mixing_width=64)
    text = CLIPTextConfig(vocab=310, tokens=14, width=32, layers=1, heads=2, eot=EOT)
    about = CLIPConfig(embed=8, vision=vision, text=text)
    old, new = CLIP(about), CLIP(replace(about, vision=replace(vision, size=size)))
    state, before = GrownWeights("clip", new, old.state_dict(), OLD, OLD), old.state_dict()
    names = [name for name in before if name.startswith("visual.") and "position" in name]
    assert len(names) == 1 + convolves
    for name in names:
        now, then = state[name], before[name]
        first, side = len(then) % 4, size // 16
        assert torch.equal(now[:first], then[:first])
        for row in range(min(side, 4)):
            place, other = first + side * row, first + 4 * row
            assert torch.equal(now[place : place + min(side, 4)], then[other : other + min(side, 4)])
    new.load_state_dict(state)


@pytest.mark.parametrize(
    ("changes", "tokens", "expected"),
    [
        ({"text_vocab": 310}, OLD, set()),
        ({"text_vocab": 330}, replace(OLD, vocab=330), set()),
        ({}, NEW, {"embed.text", "text_head"}),
        ({"text_vocab": 310, "text_tokens": 20}, OLD, {"embed.text", "embed.text_place"}),
        ({"text_vocab": 310, "text_tokens": 8}, OLD, set()),
        ({"text_vocab": 310, "grid": 4}, OLD, {"embed.row", "embed.column"}),
        ({"text_vocab": 310, "depth": 1}, OLD, set()),
        ({"text_vocab": 310, "dim": 16}, OLD, set()),
        ({"text_vocab": 310, "dim": 48}, OLD, None),
        ({"text_vocab": 310, "depth": 3}, OLD, {"blocks.2"}),
    ],
)
def test_what_the_old_model_has_only_a_part_of_is_named(
    changes: dict[str, Any], tokens: Tokens, expected: set[str] | None
) -> None:
    """`expected`: names, or a layer; None: all."""
    old = TokenTransformer(SMALL, seed=1)
    new = TokenTransformer(replace(SMALL, **{"text_vocab": 330} | changes), seed=2)
    found = GrownWeights("transformer", new, old.state_dict(), OLD, tokens)
    layers = {name: name.split(".")[0] + "." + name.split(".")[1] for name in found if name.startswith("blocks.")}
    assert found.partly == {name for name in found if expected is None or {name, layers.get(name)} & expected}
    assert expected is None or expected <= found.partly | set(layers.values())


@pytest.mark.parametrize("world", [2, 3])
def test_a_rank_that_keeps_its_rows_grows_the_rows_that_one_process_grows(
    monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    monkeypatch.setattr(initial, "SMALL", 2)
    old, larger = TokenTransformer(SMALL, seed=1), replace(SMALL, text_vocab=330, text_tokens=20, depth=4)

    def build() -> TokenTransformer:
        return network(lambda: TokenTransformer(larger, seed=2), 2, "test")

    whole = GrownWeights("transformer", build(), old.state_dict(), OLD, NEW)
    for rank in range(world):
        with in_shards(Ranks(rank, world)):
            module = build()
        kept = module.state_dict()
        grown = GrownWeights("transformer", module, old.state_dict(), OLD, NEW)
        assert list(grown) == list(whole) == list(kept)
        for key, value in kept.items():
            assert isinstance(value, OwnRows) == (value.ndim > 1 and value.dtype == torch.float32), key
            value.copy_(grown[key])
            rows = slice(*span_of(len(value), rank, world)) if isinstance(value, OwnRows) else slice(None)
            assert torch.equal(value.held if isinstance(value, OwnRows) else value, whole[key][rows]), key
