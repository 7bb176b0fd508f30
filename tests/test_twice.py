"""Of two equal commands at once into one place both end well, or the second is refused; what stays is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.modules import printed_by

pytest.importorskip("transformers")
pytest.importorskip("usearch")
QUICK = "paint,vary,preview,index,build"
WAITS = ("paint", "complete", "vary", "preview")


def check(folder: Path, *names: str) -> None:
    told = printed_by("tests.twice", str(folder), *names)
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
