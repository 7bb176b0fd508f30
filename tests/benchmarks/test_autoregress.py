"""The published benchmark runs, and its last line is the JSON that others read."""

from __future__ import annotations

import json

import pytest

import autoregress

SHAPE = {"dim": 32, "depth": 2, "heads": 2, "text-tokens": 4, "image-tokens": 16, "codes": 64, "rounds": 1, "batch": 3}


def test_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = [word for name, value in SHAPE.items() for word in (f"--{name}", str(value))]
    autoregress.main([*options, "--dtype", "float32"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["ratio"] == pytest.approx(result["ours_tokens_per_s"] / result["peer_tokens_per_s"], rel=0.02)
    assert result["weight_bytes_per_step"] == 4 * (12 * 32 * 32 * 2 + 64 * 32)
    caches = 2 * 3 * 32 * 4 * ((5 + 4 + 1) + (5 + 16))  # a row layer sees a row and one more, the last one all
    assert result["bytes_per_step"] == result["weight_bytes_per_step"] + caches
    read_gb_s = result["bytes_per_step"] / result["ours_ms_per_step"] / 1e6
    assert result["roofline_share"] == pytest.approx(read_gb_s / result["read_bandwidth_gb_s"], rel=0.05, abs=6e-4)
    assert result["batch"] == 3


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(SystemExit, match="square"):
        autoregress.main(["--image-tokens", "15"])
