"""The text encoder trained from scratch: the same interface, and the same numbers as in training."""

from __future__ import annotations

import torch

from pinxit.models.text import TextTransformer, TextTransformerConfig
from pinxit.text.frozen import EncoderOptions
from pinxit.text.learned import LearnedText
from pinxit.text.tokenizers import Tokenizer

TEXTS = ["a red cat", "", "a very small dog under a tree and a house"]


def learned(length: int = 24) -> LearnedText:
    tokenizer = Tokenizer.train(["a red cat under a tree", "a very small dog and a house"] * 3, 300)
    config = TextTransformerConfig(vocab=tokenizer.vocab_size, tokens=32, width=32, layers=2, heads=4)
    return LearnedText(TextTransformer(config), tokenizer, running=EncoderOptions(length))


def test_encodes_as_in_training() -> None:
    encoder = learned()
    said, trained = encoder.encode(TEXTS), encoder.model(encoder.batch_ids(TEXTS))
    assert said.sequence.shape == (3, 24, 32) and not said.sequence.requires_grad and trained.sequence.requires_grad
    assert torch.equal(said.mask, trained.mask)
    torch.testing.assert_close(said.sequence, trained.sequence.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(said.pooled, trained.pooled.detach(), atol=1e-5, rtol=1e-4)
    assert torch.equal(encoder.encode(TEXTS[2:]).pooled, said.pooled[2:])
    assert int(encoder.null().mask.sum()) == 2


def test_words_that_no_caption_held_are_reported() -> None:
    assert learned().unknown_words(f"{TEXTS[2]} unmet 三") == ["unmet", "三"]


def test_long_texts_are_cut_before_their_end() -> None:
    encoder = learned(8)
    whole = len(encoder.ids(TEXTS[2:], None)[0])
    assert encoder.tokens_over_limit(TEXTS[2]) == whole - 8 > 0 == encoder.tokens_over_limit("")
    assert encoder.ids(TEXTS[2:], 8)[0][-1] == encoder.ids([""], None)[0][-1]
