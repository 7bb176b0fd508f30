"""The benchmark of plans runs, and its last line is the JSON that others read."""

from __future__ import annotations

import json

import pytest

import plan


def test_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    plan.main(["dalle/nano", "--stage", "transformer", "--updates", "6"])
    *lines, last = capsys.readouterr().out.splitlines()
    ((name, ratio),) = json.loads(last)["ratios"].items()
    assert name == "dalle/nano transformer" and len(lines) == 1
    assert 0.1 < ratio < 10  # of two updates beside four, on a machine that may be busy


def test_too_few_updates_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plan.main(["dalle/nano", "--updates", "2"])
    assert "--updates 2: three at least" in capsys.readouterr().err
