"""What the stages of all recipes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pinxit.recipes.classifier import STAGES as CLASSIFIER
from pinxit.recipes.classifier import ClassifierConfig, ClassifierRun
from pinxit.recipes.clip.presets import preset as clip
from pinxit.recipes.clip.run import STAGES as CLIP
from pinxit.recipes.clip.run import ClipRun
from pinxit.recipes.dalle.presets import preset as dalle
from pinxit.recipes.dalle.run import STAGES as DALLE
from pinxit.recipes.dalle.run import DalleRun
from pinxit.recipes.imagen.presets import preset as imagen
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.karlo.config import KarloConfig
from pinxit.recipes.karlo.run import KarloRun
from pinxit.recipes.unclip.presets import preset as unclip
from pinxit.recipes.unclip.run import UnclipRun

NOWHERE = Path("nowhere")
RUNS: list[tuple[Any, Sequence[str], Sequence[str]]] = [
    (ClassifierRun(NOWHERE, ClassifierConfig()), CLASSIFIER, ("classifier",)),
    (run := ClipRun(NOWHERE, clip("nano")), CLIP, run.trained),
    (run := DalleRun(NOWHERE, dalle("nano")), DALLE, run.trained),
    (run := ImagenRun(NOWHERE, imagen("nano")), run.stages, run.trained),
    (run := UnclipRun(NOWHERE, unclip("nano")), run.stages, run.trained),
    (run := KarloRun(NOWHERE, KarloConfig("karlo")), run.stages, run.trained),
]


@pytest.mark.parametrize(("run", "stages", "trained"), RUNS, ids=lambda one: type(one).__name__)
def test_what_does_not_train_is_done_by_one_rank(run: Any, stages: Sequence[str], trained: Sequence[str]) -> None:
    """Several that encoded the same captions into one folder deleted and emptied each other's files."""
    assert [stage for stage in stages if stage not in run.MARKS] == list(trained)
