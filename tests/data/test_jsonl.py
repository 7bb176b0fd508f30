from __future__ import annotations

from pathlib import Path

import pytest

from pinxit.data import jsonl as lines
from pinxit.data.jsonl import Captions, MappedLines, json_line


@pytest.mark.parametrize("window", [1, 3, 1 << 24])
def test_lines_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(lines, "_WINDOW", window)
    (tmp_path / "a").write_bytes(b"one\n\nthree\n")
    found = MappedLines(tmp_path / "a")
    assert list(found) == [b"one", b"", b"three"]
    assert found[-1] == b"three" and found[1:] == [b"", b"three"]
    for outside in (3, -4):
        with pytest.raises(IndexError):
            found[outside]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert len(MappedLines(tmp_path / "a")) == 0


def test_captions_survive_whatever_they_hold(tmp_path: Path) -> None:
    captions = [("a\nb", "猫\u2028\r"), ("",), ('"quoted" \\ back',)]
    (tmp_path / "a").write_bytes(b"".join(map(json_line, captions)))
    found = Captions(tmp_path / "a")
    assert list(found) == captions and found[1:] == captions[1:] and found[-1] == captions[-1]


def test_file_names_that_are_no_text_survive_as_escapes() -> None:
    assert json_line(["caf\udce9"]) == b'["caf\\udce9"]\n'
