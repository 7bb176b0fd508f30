"""The search benchmark runs, and its last line is the JSON that others read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "search.py"


def test_last_line_is_json() -> None:
    pytest.importorskip("usearch")
    command = [sys.executable, str(BENCHMARK), "--rows", "300", "--width", "16", "--queries", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["recall"] > 0.9 and told["bytes"] > 300 * 16 * 2
    assert told["ratio"] == pytest.approx(told["exact_ms"] / told["query_ms"], rel=0.05, abs=0.2)
