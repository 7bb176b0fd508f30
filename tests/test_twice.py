"""Of two equal commands at once into one place both end well, or the second is refused; what stays is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("usearch")
ROOT = Path(__file__).parents[1]
QUICK = "paint,vary,preview,index,build"
WAITS = ("paint", "complete", "vary", "preview")


def check(folder: Path, *names: str) -> None:
    paths = os.pathsep.join([*sys.path, str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.twice", str(folder), *names],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) >= len(QUICK.split(","))
    for one in told:
        assert (one["broken"], one["differs"]) == ([], []), one
        assert one["codes"] in ([0, 0], [0, 2]), one  # 0, 0 also where the first was done before the second began
        assert one["codes"] == [0, 0] or one["command"] not in WAITS, one
        refused = [text for text in one["told"] if "another command writes" in text]
        assert len(refused) == one["codes"].count(2), one


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_twice_at_once(tmp_path: Path) -> None:
    check(tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_everything_twice_at_once(tmp_path: Path) -> None:
    """Completing, training by every recipe and an exam, too."""
    check(tmp_path)
