"""Words to be written are read letter by letter, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinxit.text.spelling import spelled
from pinxit.text.tokenizers import Tokenizer


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a sign that says OPEN", "a sign that says O P E N"),
        ("写着OPENAI的商店招牌", "写着 O P E N A I 的商店招牌"),
        ('a sign that says "hello" in red', 'a sign that says " H E L L O " in red'),
        ("a sign saying 「open」", "a sign saying 「 O P E N 」"),
        ("写着ＯＰＥＮ的牌子", "写着 O P E N 的牌子"),
        ("a sign that says “ｏｐｅｎ”", "a sign that says “ O P E N ”"),
        ("вывеска OPEN", "вывеска O P E N"),
        ("オープン OPEN", "オープン O P E N"),
    ],
)
def test_words_in_capitals_or_quotation_marks_are_spelled(text: str, read: str) -> None:
    assert " ".join(spelled(text).split()) == read


@pytest.mark.parametrize(
    "text", ["a red cube", "A RED CUBE", "A red Cube", "三只企鹅", "ÉTÉ À PARIS", "iPhone", "a U-turn", "", "it's"]
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert spelled(text) == text


def test_a_tokenizer_that_spells_reads_unmet_words_by_the_letters_of_met_ones(tmp_path: Path) -> None:
    """OPENAI was in no caption, but its letters were; without spelling its pieces are those of no word on a sign."""
    captions = [f"a sign that says {word}" for word in ("OPEN", "NAIL", "PIE", "TEA")] * 20
    spelling = Tokenizer.train(captions, 400, spell=True)
    spelling.save(tmp_path)
    again = Tokenizer.open(tmp_path)
    assert again.spell and not Tokenizer.train(captions, 400).spell
    ids = again.encode(["a sign that says OPENAI"], 16)[0]
    assert again.decode(ids) == "a sign that says o p e n a i"
    assert sum(id != 0 for id in ids) == 4 + 6
    assert again.unknown_words("a sign that says OPENAI") == []
    assert (ids == spelling.encode(["a sign that says OPENAI"], 16)[0]).all()
