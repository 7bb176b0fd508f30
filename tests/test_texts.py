"""Text of strangers: what is shown no terminal obeys, what is kept is Unicode, files are read alike."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinxit.errors import UsageError
from pinxit.files import read_lines, to_json
from pinxit.texts import check_text, counted, printable, without_halves

NAMES = st.binary(max_size=20).map(os.fsdecode) | st.text(max_size=20)


@given(NAMES | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Zl", "Zp", "L"]), max_size=20))
def test_what_is_shown_can_be_shown(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in shown)
    assert printable(shown) == shown


def test_what_is_escaped_can_be_undone() -> None:
    assert printable("a\udcff\x1b[31m\n狐狸\u202e") == "a\\xff\\x1b[31m\\n狐狸\\u202e"
    assert printable("一只狐狸 – “fox” 🦊") == "一只狐狸 – “fox” 🦊"


@given(NAMES)
def test_json_gives_back_any_name_and_is_utf8(name: str) -> None:
    line = to_json({"path": name})
    line.encode()
    assert json.loads(line) == {"path": name} and "\n" not in line


@given(NAMES)
def test_text_is_unicode_or_refused_by_name(text: str) -> None:
    if without_halves(text) == text:
        assert check_text(text) == text
    else:
        with pytest.raises(UsageError, match="a label is not UTF-8"):
            check_text(text, "a label")


@given(
    st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8), min_size=1),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_lines_are_the_same_from_every_editor(lines: list[str], end: str) -> None:
    plain = end.join(lines).encode()
    for data in (plain, b"\xef\xbb\xbf" + plain, plain + end.encode() * 2):
        assert read_lines(Path("x"), "labels", data) == lines


def test_numbers_go_with_their_nouns() -> None:
    assert [counted(number, "shard") for number in (0, 1, 2, 1204)] == [
        "0 shards",
        "1 shard",
        "2 shards",
        "1,204 shards",
    ]
    assert [counted(number, "query", "queries") for number in (1, 2)] == ["1 query", "2 queries"]


def test_files_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    for content, told in (
        (b"a\xff", "not UTF-8 .byte 1"),
        (b" \n\n", "holds no labels"),
        ("a red cat\n".encode("utf-16-le"), "holds NUL characters, as UTF-16 does: save it as UTF-8 text"),
        (b"\xef\xbb\xbf", "holds no"),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=told):
            read_lines(path, "labels")
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="cannot read labels from"):
            read_lines(place, "labels")
