"""`pinxit train imagen` as it is typed: going on from a checkpoint, and what is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinxit.weights.checkpoint import open_checkpoint
from tests.cli.helpers import Cli
from tests.recipes.squares import write_squares

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_imagen(tmp_path_factory.mktemp("imagen") / "checkpoint")


def test_training_goes_on_from_a_checkpoint_on_other_pictures(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    squares = tmp_path / "squares"
    squares.mkdir()
    write_squares(squares)
    words = ["train", "imagen", "--preset", "nano", "--init-from", str(checkpoint), "--data", str(squares)]
    words += [
        "--set",
        "stages.base.plan.images=16",
        "--set",
        "stages.upsampler.plan.images=0",
        "--set",
        "base.unet.refiner_layers=1",
    ]
    done = cli(*words, "--set", "stages.base.plan.batch=8", "--out", str(tmp_path / "run"))
    assert done.code == 0, done.err
    assert "weights start from scratch" in done.err and "reading" in done.err
    found = open_checkpoint(tmp_path / "run" / "checkpoint", "imagen")
    assert found.provenance["started_from"] == open_checkpoint(checkpoint).hash
    assert found.settings["text"]["encoder"] == str(checkpoint.parent / "reader")
    again = cli("train", "imagen", "--out", str(tmp_path / "run"))  # nothing is left to do, nor to start from
    assert again.code == 0 and again.out.strip() == str(tmp_path / "run" / "checkpoint")


def test_what_cannot_be_started_from_is_one_sentence(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    for name, told in ((str(tmp_path / "none"), "none"), (str(checkpoint.parent / "ranker"), "not imagen")):
        done = cli("train", "imagen", "--preset", "nano", "--init-from", name, "--out", str(tmp_path / "run"))
        assert done.code == 1 and told in done.err and "Traceback" not in done.err and len(done.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
