"""Golden curves: the losses of a run's first updates as they were when the file was written."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from pinxit.recipes.staging import Run
from pinxit.training.log import read_metrics
from tests.golden import golden


def check_curve(run: Run[Any], stages: Collection[str], path: Path, updates: int, most: float) -> None:
    """Every loss within 3 % or `most` of the file's; PINXIT_GOLDEN=write writes it anew."""
    found = {stage: [line["loss"] for line in read_metrics(run.path(stage))] for stage in stages}
    expected = golden(path, lambda: found)
    assert {stage: len(losses) for stage, losses in found.items()} == dict.fromkeys(stages, updates)
    assert expected.keys() == found.keys()
    for stage, losses in expected.items():
        assert found[stage] == pytest.approx(losses, rel=0.03, abs=most), stage
