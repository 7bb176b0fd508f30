"""Whatever stops a command (kill -9, a full disk), what is left is whole, and the same command ends as undisturbed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.killed_commands import NAMES
from tests.modules import printed_by

pytest.importorskip("transformers")
pytest.importorskip("usearch")
QUICK = "paint,index,build,clip,encode,stream"


def check(folder: Path, moments: int, *names: str) -> None:
    told = printed_by("tests.killed", str(folder), str(moments), "0", *names)
    assert len(told) == moments
    for one in told:
        assert (one["code"], one["broken"], one["differs"]) == (0, [], []), one
    how = " ".join(one["how"] for one in told)
    assert ": -9" in how and "full" in how, "some were killed, and some had no room"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_twelve_moments(tmp_path: Path) -> None:
    check(tmp_path, 12, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_moments(tmp_path: Path, name: str) -> None:
    """Seven of each command: the hundred can be gone through in pieces (`pytest -m slow -k "moments and vary"`)."""
    check(tmp_path, 7, name)
