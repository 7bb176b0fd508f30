"""What a checkpoint says of how its weights were trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pinxit.recipes import provenance
from pinxit.recipes.warm_start import StartingRun
from pinxit.training import state


def test_hours_and_images_go_on_from_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(path=lambda name: tmp_path / name, before=lambda name: {"images": 5, "hours": 2.0, "x": 1})
    monkeypatch.setattr(state, "read_progress", lambda folder: state.Progress(images=8, seconds=5400.0))
    monkeypatch.setattr(state, "read_machine", lambda folder: {"device": folder.name})
    monkeypatch.setattr(provenance, "read_metrics", lambda folder: [{"loss": 3.0}, {"loss": 2.0, "lr": 0.1}])
    found = provenance.history(cast("StartingRun[Any]", run), "base", ("loss",))
    assert found == {"images": 13, "hours": 3.5, "x": 1, "loss": 2.0, "machine": {"device": "base"}}
