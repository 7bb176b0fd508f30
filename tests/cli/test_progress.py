from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pinxit.cli import progress
from pinxit.recipes.jobs import PaintProgress


def test_preview_is_written_while_painting_and_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a preview was asked for between two waves of candidates, when no slot was at work, and painting died."""
    monkeypatch.setattr(progress, "PREVIEW_SECONDS", 0.0)
    preview = tmp_path / "preview.png"
    with progress.painting("a cat", preview) as watch:
        watch(PaintProgress(0.5, list))
        assert not preview.exists()
        watch(PaintProgress(0.5, lambda: [np.zeros((8, 8, 3), np.uint8)]))
        assert preview.exists()
    assert not preview.exists()


def test_the_previews_path_is_said_once_and_not_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PREVIEW_SECONDS", 0.0)
    preview = tmp_path / ("a [bold] " + "long " * 40 + "name") / "preview.png"  # neither wrapped nor taken for markup
    with progress.painting("a cat", preview) as watch:
        for share in (0.2, 0.4, 0.6):
            watch(PaintProgress(share, lambda: [np.zeros((8, 8, 3), np.uint8)]))
    announced = {tmp_path / "preview.png"}
    for _ in range(2):  # painters of one comparison, one after the other
        for path in (tmp_path / "preview.png", tmp_path / "other.png"):
            with progress.painting("a cat", path, announced) as watch:
                watch(PaintProgress(0.5, lambda: [np.zeros((8, 8, 3), np.uint8)]))
    captured = capsys.readouterr()
    assert captured.err.count("preview.png") == 1 + captured.err.count("other.png") - 1 == 1
    assert captured.err.count(str(preview)) == 1 and str(preview) not in captured.out


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_leave_nothing_in_a_file(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even an empty line for each: there may be a million prompts."""
    monkeypatch.setenv("TERM", "xterm")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.bar("reading", 2) as watch:
        watch(1)
    with progress.painting("a cat", tmp_path / "preview.png") as look:
        look(PaintProgress(0.5, list))
    assert bool(capsys.readouterr().err) is terminal
