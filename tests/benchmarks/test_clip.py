"""The CLIP benchmark runs at a tiny size, all contenders agree, and its last line is the JSON that others read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "clip.py"


def test_last_line_is_json() -> None:
    pytest.importorskip("openvino")
    command = [sys.executable, str(BENCHMARK), "--small", "--batch", "2", "--dtype", "float32", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert {"ours, torch", "ours, openvino", "transformers"} <= told["pictures_per_s"].keys()
    assert max(told["largest_difference"].values()) < 1e-4
    for ratio, rates in (("ratio", told["pictures_per_s"]), ("text_ratio", told["texts_per_s"])):
        ours = [rate for name, rate in rates.items() if name.startswith("ours")]
        assert told[ratio] == pytest.approx(max(ours) / max(rate for rate in rates.values() if rate not in ours))
