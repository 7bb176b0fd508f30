"""The U-Net benchmark runs at a tiny size, the contenders agree, and its last line is the JSON that others read."""

from __future__ import annotations

import json

import pytest

import unet


def test_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("diffusers")
    unet.main(["--small", "--batch", "2", "--dtype", "float32", "--rounds", "1"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert max(told["largest_difference"].values()) < 1e-4
    assert told["ratio"] == pytest.approx(told["ours_gflops"] / max(told["peer_gflops"].values()), rel=0.05)
    assert told["share"] == pytest.approx(told["ours_gflops"] / told["matrix_gflops"], rel=0.05, abs=6e-4)
    # The same network, so the same work: only what is added to attention's scores may be counted differently.
    ours, peer = told["ours_gflops"] * told["seconds"]["ours"], told["peer_gflops"]["diffusers"]
    assert ours == pytest.approx(peer * told["seconds"]["diffusers"], rel=0.05)
