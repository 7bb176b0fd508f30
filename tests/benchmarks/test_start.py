"""The benchmark of sharded runs' start runs, and its last line is the JSON that others read."""

from __future__ import annotations

import json

import pytest

import start


def test_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    start.main(["dalle/nano", "transformer", "--ranks", "1", "--set", "transformer.depth=2"])
    *lines, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert len(lines) == 2 and found["peak"].keys() == {"whole", "by rows"} and found["weights"] > 0
