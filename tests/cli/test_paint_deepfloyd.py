"""`pinxit paint` with DeepFloyd IF's folders: a CLIP chooses, or nobody has to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinxit.data.decode import read_picture
from pinxit.errors import UsageError
from pinxit.pictures import read_metadata
from tests.cli.helpers import Cli

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
from pinxit.api import load
from tests.recipes.test_deepfloyd import PROMPT, Folders
from tests.recipes.test_deepfloyd import folders as folders

QUICK = ("--steps", 2, "--guidance", 1, "--json")


def test_a_clip_chooses_among_its_candidates(cli: Cli, folders: Folders, tmp_path: object) -> None:
    """Best first by that CLIP's scores, and the metadata tell whose they are."""
    where = ("--checkpoint", folders.base, "--out", tmp_path)
    done = cli("paint", PROMPT, *where, *QUICK, "--candidates", 3, "--keep", 2, "--ranker", "tiny")
    assert done.code == 0, done.err
    kept = json.loads(done.out)["pictures"]
    painter = load(folders.base, device="cpu", ranker="tiny")
    expected = painter.paint(PROMPT, candidates=3, keep=2, steps=2, guidance=1.0)
    assert [one["candidate"] for one in kept] == [one.candidate for one in expected]
    assert [one["score"] for one in kept] == pytest.approx([one.score for one in expected], abs=1e-3)
    assert kept[0]["score"] > kept[1]["score"]
    facts = read_metadata(kept[0]["path"])
    assert facts["ranker"] == "tiny" and facts["ranker_hash"] == painter.provenance["ranker_hash"]
    assert facts["recipe"] == "deepfloyd" and facts["steps"] == 2 and "spacing" not in facts


def test_without_one_all_that_is_drawn_is_kept(cli: Cli, folders: Folders, tmp_path: object) -> None:
    """Once the first four of sixteen were kept, whatever they were."""
    where = ("--checkpoint", folders.base, "--out", tmp_path)
    done = cli("paint", PROMPT, *where, *QUICK, "--candidates", 2)
    assert done.code == 0 and [one["candidate"] for one in json.loads(done.out)["pictures"]] == [0, 1]
    refused = cli("paint", PROMPT, *where, *QUICK)
    assert refused.code == 2 and len(refused.err.splitlines()) == 1
    assert "holds no CLIP to choose 4 of 16 candidates: name one with --ranker, or draw only 4" in refused.err


def test_no_exam_takes_the_first_that_was_drawn_for_the_best(cli: Cli, folders: Folders) -> None:
    refused = cli("eval", "world", "--checkpoint", folders.base, "--candidates", 2, "--prompts", 1)
    assert refused.code == 2 and len(refused.err.splitlines()) == 1
    assert "holds no CLIP to rank its candidates: measure it with --candidates 1." in refused.err


def test_a_sweep_measures_alignment_by_the_shipped_clip_where_there_is_no_other(
    cli: Cli, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once every cosine was 0."""
    asked: list[str | None] = []

    def opened(checkpoint: str, *, device: str, ranker: str | None = None) -> None:
        asked.append(ranker)
        raise UsageError("far enough")

    monkeypatch.setattr("pinxit.api.load", opened)
    for checkpoint in (folders.base, "unclip-tiny"):
        cli("eval", "sweep", "--checkpoint", checkpoint, "--vary", "guidance=1")
    assert asked == ["tiny", None]


def test_stage_2_enlarges_with_stage_1s_reader(cli: Cli, folders: Folders, tmp_path: object) -> None:
    where = ("--checkpoint", folders.base, "--out", tmp_path, "--upsampler", folders.large, "--upscale", 32)
    done = cli("paint", PROMPT, *where, *QUICK, "--candidates", 1)
    assert done.code == 0, done.err
    (one,) = json.loads(done.out)["pictures"]
    assert read_picture(Path(one["path"])).shape == (32, 32, 3)
    assert read_metadata(one["path"])["upsampler"] == "IF-II"


def test_another_clip_may_choose_for_any_painter(cli: Cli, tmp_path: object) -> None:
    done = cli("paint", "a red square", "--out", tmp_path, "--candidates", 1, "--json", "--ranker", "no-such-clip")
    assert done.code == 1 and "no-such-clip" in done.err and len(done.err.splitlines()) == 1
