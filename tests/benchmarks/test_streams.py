"""The benchmark of streams runs, and its last line is the JSON that others read."""

from __future__ import annotations

import json

import pytest

import streams


def test_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    streams.main(["--pictures", "64", "--seconds", "0.5", "--preset", "nano"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["pictures"] == 64 and told["stream_per_s"] > 0
    assert told["ratio"] == pytest.approx(told["stream_per_s"] / told["bank_per_s"], rel=0.9) and told["cpu_ratio"] > 0
