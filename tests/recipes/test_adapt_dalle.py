"""`pinxit train dalle --init-from`: with `--lora`, what it ends in opens like any other checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinxit.recipes.dalle.painter import DallePainter
from pinxit.recipes.dalle.run import TRAINED, DalleRun
from pinxit.recipes.dalle.stages import train
from pinxit.training.state import read_weights
from pinxit.weights.checkpoint import Checkpoint, open_checkpoint
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.squares import small, write_squares

SHORT = [f"plans.{stage}.images=8" for stage in TRAINED]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("start")
    save_random_checkpoint(folder)
    return open_checkpoint(folder, "dalle")


def test_what_additions_were_merged_into_opens(squares: Path, start: Checkpoint, tmp_path: Path) -> None:
    ranks = [f"plans.{stage}.lora=4" for stage in TRAINED]
    run = DalleRun(tmp_path, small(squares, *SHORT, *ranks), "cpu", progress=False, init=start)
    train(run)
    before, trained = start.state("transformer"), read_weights(run.path("transformer"), "transformer")
    changed = {name for name, tensor in trained.items() if not tensor.equal(before[name].float())}
    assert {"text_head", "image_head"} <= changed, "matrices of the root module are adapted too"
    made = open_checkpoint(run.path("checkpoint"), "dalle")
    assert all(made.state(part).keys() == start.state(part).keys() for part in TRAINED)
    DallePainter.from_checkpoint(made, name="adapted", device="cpu")
