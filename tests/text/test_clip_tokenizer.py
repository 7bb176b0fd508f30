"""The published CLIP tokenizer: golden ids, and transformers' answers on a thousand varied strings."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from pinxit.errors import CheckpointError, UsageError
from pinxit.text.clip_tokenizer import MERGES, SHIPPED, ClipTokenizer

WORDS = (
    *(
        "a",
        "photo",
        "Straße",
        "ÀÉÎ",
        "naïve",
        "it's",
        "they'll",
        "I'D",
        "don't-stop",
        "C++",
        "#tag",
        "@you",
        "İstanbul",
    ),
    *(
        "你好",
        "世界",
        "日本語",
        "한국어",
        "😀",
        "👩\u200d👩\u200d👧",
        "1234",
        "3.14",
        "٣٤",
        "½",
        "x²",
        "ﬁ",
        "ﷺ",
        "\U0001d54f",
    ),
    *("<|nothing|>", "&amp;", "...", "!?", "—", "\x00", "\x07", "\x7f", "\u200b", "\ufeff", "e\u0301", "ǅ", "\t", "\n"),
)


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return ClipTokenizer.published()


def strings(count: int = 1000) -> list[str]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        if number % 4 == 3:  # any code points at all, but for the surrogates
            points = rng.integers(0, 0x2FFFF, rng.integers(1, 12))
            made.append("".join(chr(point) for point in points if not 0xD800 <= point < 0xE000))
        else:
            gap = [" ", "", "  "][number % 4]
            made.append(gap.join(rng.choice(WORDS, rng.integers(0, 9))))
    return made


def test_golden_ids(tokenizer: ClipTokenizer) -> None:
    assert (tokenizer.vocab_size, tokenizer.sot, tokenizer.eot) == (49408, 49406, 49407)
    row = tokenizer.encode(["a photo of a cat"])[0]
    assert row[:7].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407] and not row[7:].any()
    assert tokenizer.encode(["Hello,  World!"])[0, :6].tolist() == [49406, 3306, 267, 1002, 256, 49407]


def test_equals_transformers_on_a_thousand_strings(tokenizer: ClipTokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    lines = gzip.decompress(SHIPPED.read_bytes()).decode().split("\n")[1:]
    assert len(lines) == MERGES
    vocab = tokenizer._engine.get_vocab() | {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    theirs = transformers.CLIPTokenizer(vocab=vocab, merges=[tuple(line.split()) for line in lines])
    for text in strings():
        expected = theirs(text)["input_ids"]
        ours = tokenizer.encode([text], len(expected))[0].tolist()
        assert ours == expected, repr(text)


def test_no_text_forges_start_or_end(tokenizer: ClipTokenizer) -> None:
    row = tokenizer.encode(["<|endoftext|> <|startoftext|>"])[0]
    assert (row == tokenizer.sot).sum() == 1 and (row == tokenizer.eot).sum() == 1


def test_long_texts_are_refused_or_cut(tokenizer: ClipTokenizer) -> None:
    with pytest.raises(UsageError, match="has 80 tokens, but CLIP reads 75"):
        tokenizer.encode(["cat " * 80])
    row = tokenizer.encode(["cat " * 80], cut=True)[0]
    assert row[-1] == tokenizer.eot and (row[1:-1] == 2368).all()
    assert tokenizer.encode(["cat " * 75])[0, -1] == tokenizer.eot


def test_own_merges(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    own = ClipTokenizer.open(tmp_path, vocab=516)
    assert own.encode(["cat"], 4).tolist() == [[514, 513, 515, 0]]
    with pytest.raises(CheckpointError, match="516 ids, but a model of 40"):
        ClipTokenizer.open(tmp_path, vocab=40)
    (tmp_path / "merges.txt").write_text("#version: 0.2\nc a t\n")
    with pytest.raises(CheckpointError, match="line 2"):
        ClipTokenizer.open(tmp_path, vocab=516)
    with pytest.raises(CheckpointError, match=r"none\.txt"):
        ClipTokenizer.from_merges(tmp_path / "none.txt")
    own._engine.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "merges.txt").unlink()
    (tmp_path / "merges.txt").mkdir()  # no file: tokenizer.json is read
    assert ClipTokenizer.open(tmp_path, vocab=516).encode(["cat"], 4).tolist() == [[514, 513, 515, 0]]
