"""Golden curves: the losses of a run's first updates as they were when the file was written."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from pinxit.recipes.staging import Run
from pinxit.training.log import read_metrics


def check_curve(run: Run[Any], stages: Collection[str], golden: Path, updates: int, most: float) -> None:
    """Every loss within 3 % or `most` of the file's; PINXIT_GOLDEN=write writes it anew."""
    found = {stage: [line["loss"] for line in read_metrics(run.path(stage))] for stage in stages}
    if os.environ.get("PINXIT_GOLDEN") == "write":
        golden.write_text(json.dumps(found, indent=1) + "\n")
    expected = json.loads(golden.read_text())
    assert {stage: len(losses) for stage, losses in found.items()} == dict.fromkeys(stages, updates)
    assert expected.keys() == found.keys()
    for stage, losses in expected.items():
        assert found[stage] == pytest.approx(losses, rel=0.03, abs=most), stage
