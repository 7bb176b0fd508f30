"""The model card: where it was trained, by which command, how many codes are in use, what it scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pinxit.errors import DataError
from pinxit.recipes.card import SCORES, report_of
from pinxit.recipes.command import command
from pinxit.recipes.dalle.card import card
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.recipes.dalle.presets import PRESETS
from pinxit.recipes.dalle.run import DalleRun
from pinxit.recipes.dalle.stages import train
from pinxit.training.machine import machine
from pinxit.weights.checkpoint import Checkpoint, open_checkpoint
from tests.recipes.squares import small, write_squares


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> DalleRun:
    """Eight squares, one update a stage."""
    squares = write_squares(tmp_path_factory.mktemp("squares"))
    short = [f"plans.{stage}.images=8" for stage in ("dvae", "transformer", "clip")]
    done = DalleRun(tmp_path_factory.mktemp("run"), small(squares, *short), "cpu", progress=False)
    train(done)
    return done


@pytest.fixture
def checkpoint(run: DalleRun) -> Checkpoint:
    return open_checkpoint(run.path("checkpoint"))


def of_the_world(run: DalleRun, folder: Path | None = None) -> DalleRun:
    config: DalleConfig = replace(run.config, data=replace(run.config.data, source="world:small"))
    return replace(run, config=config, folder=folder or run.folder)


def exam(checkpoint_hash: str) -> dict[str, Any]:
    """What `pinxit eval world --out` writes."""
    return {
        "date": "2026-11-22",
        "machine": machine("cpu"),
        "exam": {"preset": "small", "split": "unseen", "prompts": 6, "language": "en", "seed": 0, "words": "plain"},
        "scores": {"best of 1": {"overall": 0.25, "counting": 0.5}, "any of 4": {"overall": 0.75, "counting": 1.0}},
        "judge": {"name": "judge", "hash": "80344cf878b2"},
        "candidates": 4,
        "settings": {"guidance": 3, "text": False, "sampler": "heun", "spacing": "50"},
        "painter": {"checkpoint": "nano", "checkpoint_hash": checkpoint_hash},
    }


def test_use_of_the_codes_is_reported(run: DalleRun, checkpoint: Checkpoint) -> None:
    about = json.loads((run.path("codes") / "codes.json").read_text())
    assert checkpoint.provenance["codes"] == {name: about[name] for name in ("share_used", "perplexity")}
    text = " ".join((run.path("checkpoint") / "README.md").read_text().split())
    assert f"of 256 ({about['share_used']:.1%} in use, perplexity {about['perplexity']:,.0f})" in text


def test_machine_command_and_licence_are_reported(run: DalleRun, checkpoint: Checkpoint) -> None:
    text, here = (run.path("checkpoint") / "README.md").read_text(), machine("cpu")
    assert {stage["machine"]["device"] for stage in checkpoint.provenance["stages"].values()} == {here["device"]}
    assert text.count(f"| {here['device']}, {here['cores']} CPU cores, torch {here['torch']} |") == 3
    assert f"\n    {command('dalle', run.config, PRESETS)}\n" in text
    assert "## Licence\n\npinxit is under Apache-2.0" in text
    assert "## Licence\n\nApache-2.0" in card(of_the_world(run), checkpoint.provenance)


def test_stages_of_an_older_pinxit_have_no_machine(run: DalleRun, checkpoint: Checkpoint) -> None:
    stages = {name: {**told, "machine": {}} for name, told in checkpoint.provenance["stages"].items()}
    assert card(run, {**checkpoint.provenance, "stages": stages}).count("| not noted |") == 3


def test_scores_have_a_place(run: DalleRun, checkpoint: Checkpoint) -> None:
    world, facts = of_the_world(run), checkpoint.provenance
    measure = "pinxit eval world --checkpoint RUN/checkpoint --split unseen --prompts 500 --candidates 16"
    assert "## Scores\n\nNot measured yet." in card(world, facts) and measure in card(world, facts)
    text = card(world, facts, exam(checkpoint.hash))
    assert "Not measured" not in text
    assert "|  | overall | counting |\n| --- | --- | --- |\n| best of 1 | 0.250 | 0.500 |\n| any of 4 | 0.750" in text
    assert "--split unseen --prompts 6 --language en --words plain --seed 0 --candidates 4 --set guidance=3" in text
    assert " --set guidance=3 --set text=false --set sampler=heun --set 'spacing=\"50\"'\n" in text, (
        "as --set reads them"
    )
    assert "There is no exam" in card(run, facts)


def test_only_an_exam_of_these_weights_counts(run: DalleRun, tmp_path: Path) -> None:
    elsewhere = of_the_world(run, tmp_path)
    assert report_of(elsewhere, "abc") is None
    (tmp_path / SCORES).write_text(json.dumps(exam("abc")))
    assert report_of(elsewhere, "abc") == exam("abc")
    assert report_of(elsewhere, "def") is None
    for damaged in ("{", "[]", "{}"):
        (tmp_path / SCORES).write_text(damaged)
        with pytest.raises(DataError, match=r"scores.json.*it is no report of a painter .*: remove it"):
            report_of(elsewhere, "abc")


def test_the_checkpoint_stage_writes_them_in(run: DalleRun, checkpoint: Checkpoint) -> None:
    """The weights and so their hash stay what they were: the exam remains one of this checkpoint."""
    (run.folder / SCORES).write_text(json.dumps(exam(checkpoint.hash)))
    train(run, ["checkpoint"])
    (run.folder / SCORES).unlink()
    assert "| best of 1 | 0.250 | 0.500 |" in (run.path("checkpoint") / "README.md").read_text()
    assert open_checkpoint(run.path("checkpoint")).hash == checkpoint.hash
