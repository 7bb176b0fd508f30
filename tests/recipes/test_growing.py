"""Going on from a checkpoint with other tokens and more layers: the grown model says what the old one said."""

from __future__ import annotations

from dataclasses import replace

import torch

from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.recipes.dalle.growing import Tokens, grown
from pinxit.text.tokenizers import EOT, Tokenizer

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
    new.load_state_dict(grown("transformer", new, old.state_dict(), OLD, NEW))
    codes = torch.randint(16, (3, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(new(ids(NEW), codes)[1], old(ids(OLD), codes)[1])


def test_longer_captions_keep_the_old_places_and_their_pads() -> None:
    old, new = TokenTransformer(SMALL, seed=1), TokenTransformer(replace(SMALL, text_vocab=330, text_tokens=20), seed=2)
    state = grown("transformer", new, old.state_dict(), OLD, NEW)
    torch.testing.assert_close(state["embed.text_place"][:12], old.embed.text_place.data)
    torch.testing.assert_close(state["embed.text"][330:342], old.embed.text.data[310:])
    torch.testing.assert_close(state["embed.text"][342:], new.embed.text.data[342:])


def test_a_clip_in_a_wider_space_keeps_what_it_said_in_the_old_one() -> None:
    vision = CLIPVisionConfig(size=16, patch=8, width=32, layers=1, heads=2)
    text = CLIPTextConfig(vocab=310, tokens=14, width=32, layers=1, heads=2, eot=EOT)
    small = CLIPConfig(embed=8, vision=vision, text=text)
    old, new = CLIP(small), CLIP(replace(small, embed=12, text=replace(text, vocab=330, layers=3)))
    new.load_state_dict(grown("clip", new, old.state_dict(), OLD, NEW))
    for tower in ("visual", "text"):
        assert torch.equal(getattr(new, tower).proj[:, :8], getattr(old, tower).proj)
    said = [torch.from_numpy(t.tokenizer.encode_clip(CAPTIONS, 14)) for t in (OLD, NEW)]
    torch.testing.assert_close(new.text(said[1])[:, :8], old.text(said[0]))
