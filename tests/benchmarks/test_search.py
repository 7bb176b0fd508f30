"""The search benchmark runs, and its last line is the JSON that others read."""

from __future__ import annotations

import json

import pytest

import search


def test_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("usearch")
    search.main(["--rows", "300", "--width", "16", "--queries", "5"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["recall"] > 0.9 and told["bytes"] > 300 * 16 * 2
    assert told["ratio"] == pytest.approx(told["exact_ms"] / told["query_ms"], rel=0.05, abs=0.2)
