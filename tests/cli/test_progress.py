from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pinxit.cli import progress
from pinxit.recipes.painting import Progress


def test_preview_is_written_while_painting_and_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a preview was asked for between two waves of candidates, when no slot was at work, and painting died."""
    monkeypatch.setattr(progress, "PREVIEW_SECONDS", 0.0)
    preview = tmp_path / "preview.png"
    with progress.painting("a cat", preview) as watch:
        watch(Progress(0.5, list))
        assert not preview.exists()
        watch(Progress(0.5, lambda: [np.zeros((8, 8, 3), np.uint8)]))
        assert preview.exists()
    assert not preview.exists()
