"""`pinxit train imagen` as it is typed: going on from a checkpoint, and what is refused in a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pinxit.api import load
from pinxit.errors import CheckpointError
from pinxit.weights.checkpoint import open_checkpoint
from tests.cli.helpers import Cli
from tests.recipes.squares import write_squares

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen
from tests.recipes.unclips import save_random_unclip


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


def test_a_ranker_is_named_for_everywhere_and_opened_first(
    cli: Cli, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a relative path here; an unknown one is refused before any picture is drawn; given another, none is needed."""
    ranker = tmp_path / "here" / "ranker"
    shutil.copytree(checkpoint.parent / "ranker", ranker)
    monkeypatch.chdir(ranker.parent)
    words = ["train", "imagen", "--preset", "nano", "--init-from", checkpoint, "--data", "world:small"]
    for change in ("base.plan.images=8", "base.plan.batch=8", "base.pictures=8", "upsampler.plan.images=0"):
        words += ["--set", f"stages.{change}"]
    for wrong, told in (("no-such-clip", "there is no checkpoint 'no-such-clip'"), (checkpoint, "named 'clip'")):
        refused = cli(*words, "--out", tmp_path / "refused", "--set", f"ranker={wrong}")
        assert refused.code == 1 and f"ranker={wrong}: " in refused.err and told in refused.err
        assert not (tmp_path / "refused" / "pictures").exists()
    done = cli(*words, "--out", tmp_path / "run", "--set", "ranker=ranker")
    assert done.code == 0, done.err
    monkeypatch.chdir(tmp_path)
    trained = tmp_path / "run" / "checkpoint"
    assert load(trained, device="cpu").ranker.embed([np.zeros((16, 16, 3), np.uint8)])
    shutil.rmtree(ranker)
    with pytest.raises(CheckpointError, match=r"ranker=.* there is no checkpoint"):
        load(trained, device="cpu")
    other = load(trained, device="cpu", ranker=checkpoint.parent / "ranker")
    assert other.paint("a red square", candidates=2, keep=1)[0].score != 0


def test_an_unclips_decoder_is_trained_on_as_a_base(cli: Cli, tmp_path: Path) -> None:
    """Without its inputs for embeddings and holes, its other weights as they were, and its upsampler too."""
    unclip = save_random_unclip(tmp_path / "unclip", "decoder.unet.masked=4")
    words = ["train", "imagen", "--preset", "nano", "--init-from", str(unclip), "--data", str(tmp_path / "squares")]
    for change in ("base.plan.images=8", "base.plan.batch=8", "base.plan.lr=0", "upsampler.plan.images=0"):
        words += ["--set", f"stages.{change}"]
    done = cli(*words, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    found, brought = open_checkpoint(tmp_path / "run" / "checkpoint", "imagen"), open_checkpoint(unclip)
    assert list(found.parts) == ["base", "upsampler"] and found.provenance["started_from"] == brought.hash
    trained, decoder = found.state("base"), brought.state("decoder")
    added = {name for name in decoder if name not in trained}
    assert added and all(name.startswith(("conditioning.image.", "masked.")) for name in added)
    assert decoder.keys() - added == trained.keys()
    assert all(torch.equal(value.float(), decoder[name].float()) for name, value in trained.items())
    assert found.settings["text"]["drop"] == 0.1, "a decoder does without its caption more often than a base may"
    painted = cli("paint", "a red square", "--checkpoint", tmp_path / "run" / "checkpoint", "--candidates", 1,
                  "--out", tmp_path / "out")  # fmt: skip
    assert painted.code == 0, painted.err


def test_what_cannot_be_started_from_is_one_sentence(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    for name, told in (
        (str(tmp_path / "none"), "none"),
        (str(checkpoint.parent / "ranker"), "neither imagen nor unclip"),
    ):
        done = cli("train", "imagen", "--preset", "nano", "--init-from", name, "--out", str(tmp_path / "run"))
        assert done.code == 1 and told in done.err and "Traceback" not in done.err and len(done.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
