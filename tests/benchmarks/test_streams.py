"""The benchmark of streams runs, and its last line is the JSON that others read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "streams.py"


def test_last_line_is_json() -> None:
    command = [sys.executable, str(BENCHMARK), "--pictures", "64", "--seconds", "0.5", "--preset", "nano"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["pictures"] == 64 and told["stream_per_s"] > 0
    assert told["ratio"] == pytest.approx(told["stream_per_s"] / told["bank_per_s"], rel=0.9) and told["cpu_ratio"] > 0
