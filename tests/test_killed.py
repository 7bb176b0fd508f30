"""Whatever stops a command (kill -9, a full disk), what is left is whole, and the same command ends as undisturbed."""

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
QUICK = "paint,index,build,clip,encode,stream"


def check(folder: Path, moments: int, *names: str) -> None:
    paths = os.pathsep.join([*sys.path, str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.killed", str(folder), str(moments), "0", *names],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == moments
    for one in told:
        assert (one["code"], one["broken"], one["differs"]) == (0, [], []), one
    how = " ".join(one["how"] for one in told)
    assert ": -9" in how and "full" in how, "some were killed, and some had no room"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_twelve_moments(tmp_path: Path) -> None:
    check(tmp_path, 12, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_hundred_moments(tmp_path: Path) -> None:
    """Painting, completing, indexing, building, training by every recipe, and an exam."""
    check(tmp_path, 100)
