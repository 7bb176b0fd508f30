from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import tokenizers as library
from hypothesis import given, settings
from hypothesis import strategies as st

from pinxit.errors import CheckpointError, DataError, UsageError
from pinxit.text.clip_tokenizer import ClipTokenizer
from pinxit.text.tokenizers import EOT, PAD, SMALLEST, SOT, Tokenizer

COLOURS = ["red", "orange", "yellow", "green", "blue", "purple"]
THINGS = ["cube", "sphere", "penguin", "avocado", "armchair", "triangle"]
CAPTIONS = [
    *(
        f"A {size} {colour} {thing} on a white background."
        for size in ("small", "big")
        for colour in COLOURS
        for thing in THINGS
    ),
    *(f"一个红色的{noun}在绿色的{noun}上面" for noun in ("立方体", "球", "三角形")),
]
TEXTS = [
    "a small red cube on a white background.",
    "THE ﬁrst Straße — naïve café",
    "一个红色的立方体, 和 3个 penguins",
    "👩🏽‍🚀 rides a 🐴!!",
    "tab\tnewline\n nul\x00 bell\x07 zero\u200bwidth",
    "⟨pad⟩⟨start⟩<pad>[UNK]",
    "नमस्ते 안녕 مرحبا",
    "",
    "   ",
    "2024 3.14",
]

TRAINED = Tokenizer.train(CAPTIONS, 400)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return TRAINED


def reference(tokenizer: Tokenizer, folder: Path) -> library.Tokenizer:
    tokenizer.save(folder)
    return library.Tokenizer.from_file(str(folder / "tokenizer.json"))


def rows(ids: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[list[int]]:
    return [[int(i) for i in row if i != PAD] for row in ids]


def test_encode_equals_the_library_reading_the_saved_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    engine = reference(tokenizer, tmp_path)
    ids = tokenizer.encode(TEXTS, 200)
    assert ids.dtype == np.int64 and ids.shape == (len(TEXTS), 200)
    assert rows(ids) == [engine.encode(text).ids for text in TEXTS]


def test_the_seeded_merges_without_a_drop_equal_the_library(tokenizer: Tokenizer) -> None:
    """So small a dropout never falls, so only the merging itself can differ."""
    texts = TEXTS + CAPTIONS
    ours = tokenizer.encode(texts, 200, dropout=1e-15, rng=np.random.default_rng(0))
    assert np.array_equal(ours, tokenizer.encode(texts, 200))


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_merges_as_the_library_does_and_never_yields_a_special(text: str) -> None:
    ids = TRAINED.encode([text], 500)
    assert np.array_equal(ids, TRAINED.encode([text], 500, dropout=1e-15, rng=np.random.default_rng(0)))
    assert all(i > EOT for i in rows(ids)[0])
    assert TRAINED.count(text) == len(rows(ids)[0])


def test_decode_returns_the_normalised_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(["  A  Red CUBE", "一个红色的球", "⟨pad⟩ <x> 👍🏽"], 100)
    assert [tokenizer.decode(row) for row in ids] == ["a red cube", "一个红色的球", "⟨pad⟩ <x> 👍🏽"]
    clip = tokenizer.encode_clip(["a red cube"], 20, dropout=0.5, rng=np.random.default_rng(1))
    assert tokenizer.decode(clip[0]) == "a red cube"


def test_letter_case_and_spaces_do_not_matter(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(["a red cube", " A\tRED \n cube "], 20)
    assert np.array_equal(ids[0], ids[1])


def test_no_token_spans_two_words_or_two_chinese_characters(tokenizer: Tokenizer) -> None:
    vocabulary = [tokenizer.decode([i]) for i in range(SMALLEST, tokenizer.vocab_size)]
    assert "penguin" in vocabulary and "立" in vocabulary
    assert all(len(token.split()) <= 1 for token in vocabulary)
    assert all(len(token) == 1 or token.isascii() for token in vocabulary if "\ufffd" not in token)


def test_long_texts_are_cut_and_short_ones_padded(tokenizer: Tokenizer) -> None:
    whole = rows(tokenizer.encode(["a small red cube"], 50))[0]
    assert tokenizer.encode(["a small red cube"], 2).tolist() == [whole[:2]]
    clip = tokenizer.encode_clip(["a small red cube", ""], len(whole) + 3)
    assert clip.tolist() == [[SOT, *whole, EOT, PAD], [SOT, EOT, *[PAD] * (len(whole) + 1)]]
    assert tokenizer.encode_clip(["a small red cube"], 4).tolist() == [[SOT, *whole[:2], EOT]]
    assert tokenizer.encode([], 5).shape == (0, 5)


def test_dropout_depends_on_the_generator_alone(tokenizer: Tokenizer) -> None:
    def draw(seed: int) -> list[list[int]]:
        np.random.seed(7)  # global state must not matter
        return rows(tokenizer.encode(CAPTIONS, 200, dropout=0.3, rng=np.random.default_rng(seed)))

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    other = rows(Tokenizer.train(CAPTIONS, 400).encode(CAPTIONS, 200, dropout=0.3, rng=np.random.default_rng(3)))
    assert draw(3) == other, "what was encoded before (the cache) must not matter"


def test_full_dropout_leaves_bytes(tokenizer: Tokenizer) -> None:
    ids = rows(tokenizer.encode(["red"], 20, dropout=1.0, rng=np.random.default_rng(0)))[0]
    assert len(ids) == len(" red") and tokenizer.decode(ids) == "red"


@pytest.mark.parametrize("captions", [[], ["", "  ", "!!"]])
def test_training_without_words_is_refused(captions: list[str]) -> None:
    with pytest.raises(DataError, match="no words"):
        Tokenizer.train(captions, 400)


def test_bad_requests_are_one_sentence(tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="at least 260"):
        Tokenizer.train(CAPTIONS, 259)
    with pytest.raises(UsageError, match="between 0 and 1"):
        tokenizer.encode(["a"], 4, dropout=1.5, rng=np.random.default_rng(0))
    with pytest.raises(UsageError, match="rng"):
        tokenizer.encode(["a"], 4, dropout=0.1)
    with pytest.raises(UsageError, match="at least 2"):
        tokenizer.encode_clip(["a"], 1)


def test_training_is_deterministic_in_any_order(tmp_path: Path) -> None:
    shuffled = random.Random(0).sample(CAPTIONS, len(CAPTIONS))
    for name, captions in (("a", CAPTIONS), ("b", CAPTIONS), ("c", shuffled)):
        Tokenizer.train(iter(captions), 400).save(tmp_path / name)
    for file in ("tokenizer.json", "words.json"):
        assert len({(tmp_path / name / file).read_bytes() for name in "abc"}) == 1


def test_a_small_corpus_yields_fewer_tokens_than_asked_for() -> None:
    assert SMALLEST < Tokenizer.train(["red cube", "red cube"], 16_384).vocab_size < 300


def test_open_returns_what_was_saved(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again = Tokenizer.open(tmp_path)
    assert again.vocab_size == tokenizer.vocab_size
    assert np.array_equal(again.encode(TEXTS, 100), tokenizer.encode(TEXTS, 100))
    assert again.unknown_words("a red wombat") == ["wombat"]


def test_an_older_tokenizer_knows_the_words_whose_pieces_it_lists(tokenizer: Tokenizer) -> None:
    """Without their vowel signs, at which they were cut: every word of Hindi would be unknown to it."""
    older = Tokenizer(tokenizer._engine, ["नमस", "त", "ल", "红"])
    assert older.unknown_words("नमस्ते लाल नीला, 车") == ["नीला", "车"]


def test_unknown_words_are_named_once(tokenizer: Tokenizer) -> None:
    assert tokenizer.unknown_words("A RED wombat, another wombat") == ["wombat", "another"]
    assert tokenizer.unknown_words("红色的汽车 cube") == ["汽车"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", None, "is missing"),
        ("tokenizer.json", "{", "not a tokenizer"),
        ("words.json", None, "is missing"),
        ("words.json", '{"wor', "damaged"),
        ("words.json", "[]", "damaged"),
    ],
)
def test_damaged_folders_are_refused(
    tokenizer: Tokenizer, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        Tokenizer.open(tmp_path)
    assert file in str(caught.value)


def test_a_foreign_tokenizer_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    data = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    data["model"]["vocab"] = {"a": 0}
    data["model"]["merges"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="special tokens differ"):
        Tokenizer.open(tmp_path)


def test_one_text_in_place_of_a_list(tokenizer: Tokenizer) -> None:
    """Its letters were taken for texts."""
    published = ClipTokenizer.published()
    for use in (tokenizer.encode, tokenizer.encode_clip, published.encode):
        with pytest.raises(UsageError, match=r"^texts must be a list, not one text: \['a cat'\]"):
            use("a cat", 8)
    with pytest.raises(UsageError, match=r"^captions must be a list"):
        Tokenizer.train("a cat", 300)


def test_a_published_tokenizer_is_saved_and_opened_by_a_path_as_text(tmp_path: Path) -> None:
    published = ClipTokenizer.published()
    published.save(str(tmp_path))
    opened = ClipTokenizer.open(str(tmp_path), published.vocab_size)
    assert np.array_equal(opened.encode(["a cat"]), published.encode(["a cat"]))
    with pytest.raises(UsageError, match="at least 2 positions, not 1"):
        published.encode(["a cat"], 1, cut=True)
