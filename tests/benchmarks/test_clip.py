"""The CLIP benchmark runs at a tiny size, all contenders agree, and its last line is the JSON that others read."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

import clip


@pytest.mark.skipif(not find_spec("openvino"), reason="pinxit[openvino] is not installed")
def test_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    clip.main(["--small", "--batch", "2", "--dtype", "float32", "--rounds", "1"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"ours, torch", "ours, openvino", "transformers"} <= told["pictures_per_s"].keys()
    assert max(told["largest_difference"].values()) < 1e-4
    for ratio, rates in (("ratio", told["pictures_per_s"]), ("text_ratio", told["texts_per_s"])):
        ours = [rate for name, rate in rates.items() if name.startswith("ours")]
        assert told[ratio] == pytest.approx(max(ours) / max(rate for rate in rates.values() if rate not in ours))
