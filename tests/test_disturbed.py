"""Whatever stops a command, or runs beside it: what is left is whole, and the same command ends as undisturbed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.killed_commands import NAMES
from tests.modules import printed_by

pytest.importorskip("transformers")
pytest.importorskip("usearch")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
WAITS = ("paint", "complete", "vary", "preview")


def disturbed(folder: Path, moments: int, killed: str = "", twice: str = "") -> None:
    told = printed_by("tests.disturbed", str(folder), str(moments), killed, twice)
    assert len(told) == moments + len([name for name in twice.split(",") if name])
    if moments:
        check_killed(told[:moments])
    for one in told[moments:]:
        check_twice(one)


def check_killed(told: list[dict[str, Any]]) -> None:
    """By kill -9 and by a full disk."""
    for one in told:
        assert (one["code"], one["broken"], one["differs"]) == (0, [], []), one
    how = " ".join(one["how"] for one in told)
    assert ": -9" in how and "full" in how, "some were killed, and some had no room"


def check_twice(one: dict[str, Any]) -> None:
    """Two equal commands at once into one place: both end well, or the second is refused."""
    assert (one["broken"], one["differs"]) == ([], []), one
    assert one["codes"] in ([0, 0], [0, 2]), one  # 0, 0 also where the first was done before the second began
    assert one["codes"] == [0, 0] or one["command"] not in WAITS, one
    refused = [text for text in one["told"] if "another command writes" in text]
    assert len(refused) == one["codes"].count(2), one


def test_twelve_moments_and_five_commands_twice(tmp_path: Path) -> None:
    disturbed(tmp_path, 12, "paint,index,build,clip,encode,stream", "paint,vary,preview,index,build")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_moments(tmp_path: Path, name: str) -> None:
    """Seven of each command: the hundred can be gone through in pieces (`pytest -m slow -k "moments and vary"`)."""
    disturbed(tmp_path, 7, name)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_everything_twice_at_once(tmp_path: Path) -> None:
    """Completing, training by every recipe and an exam, too."""
    disturbed(tmp_path, 0, twice=",".join(NAMES))
