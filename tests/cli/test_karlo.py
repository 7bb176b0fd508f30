"""Karlo's folder at the command line: it paints, varies and enlarges, and says what it cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pinxit.cli.train import by_ray
from pinxit.data.decode import read_picture
from pinxit.pictures import read_metadata
from tests.cli.helpers import Cli

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
from tests.recipes import karlos


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return karlos.save(tmp_path_factory.mktemp("karlo") / "tiny").folder


QUICK = ("--set", "steps=2", "--json")


def test_it_paints_and_enlarges_to_its_own_size(cli: Cli, folder: Path, tmp_path: Path) -> None:
    words = ("--candidates", 2, "--keep", 1, "--set", "prior_steps=2", "--checkpoint", folder, "--out", tmp_path)
    done = cli("paint", "a cat", *words, *QUICK)
    assert done.code == 0, done.err
    (one,) = json.loads(done.out)["pictures"]
    assert read_picture(Path(one["path"])).shape == (16, 16, 3)
    facts = read_metadata(Path(one["path"]))
    assert (facts["recipe"], facts["guidance"], facts["prior_guidance"]) == ("karlo", 8.0, 4.0)
    assert facts["upsampler_steps"] == 7 and "augmentation" not in facts


def test_it_varies(cli: Cli, folder: Path, tmp_path: Path) -> None:
    picture = next(iter(Path("docs/images").glob("*.png")))
    words = ("--count", 2, "--checkpoint", folder, "--out", tmp_path, "--upscale", 0)
    done = cli("vary", picture, *words, *QUICK)
    assert done.code == 0, done.err
    found = json.loads(done.out)["pictures"]
    assert [read_picture(Path(path)).shape for path in found] == [(8, 8, 3)] * 2
    assert read_metadata(Path(found[0]))["recipe"] == "karlo"


def test_what_a_part_of_it_cannot_do_is_said(cli: Cli, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "blind", ignore=shutil.ignore_patterns("image_encoder", "feature_extractor"))
    blind = ("--checkpoint", tmp_path / "blind", "--out", tmp_path / "out")
    picture = next(iter(Path("docs/images").glob("*.png")))
    cases: list[tuple[tuple[object, ...], str]] = [
        (("paint", "a cat", *blind), "holds no CLIP to choose 4 of 16 candidates"),
        (("vary", picture, *blind), "has no image_encoder"),
        (("paint", "a cat", "--checkpoint", folder, "--recipe", "dalle"), "is a checkpoint of karlo, not of dalle"),
        (("paint", "a cat", "--checkpoint", folder, "--int8"), "is a checkpoint of karlo: int8 is"),
        (("reconstruct", picture, "--checkpoint", folder, "--components", "2"), "no principal components"),
    ]
    for words, told in cases:
        done = cli(*words)
        assert done.code == 2 and told in done.err and "Traceback" not in done.err, done.err
        assert not list((tmp_path / "out").rglob("*.png"))


def test_its_graph_and_settings_are_told(cli: Cli, folder: Path) -> None:
    printed = cli("recipes", "--graph", folder)
    assert printed.code == 0 and printed.out.splitlines()[0] == "paint: text -> prior -> decoder -> embed -> rank"
    settings = cli("recipes", "--settings", folder).out.splitlines()
    assert {"steps=25", "prior_limit=5.0", "tries=1", "upsampler_steps=7"} <= set(settings)


def test_its_training_is_rays_where_that_is_asked_for(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="pinxit[ray] is not installed")
    met: list[tuple[Any, ...]] = []
    monkeypatch.setattr(by_ray, "train_by_ray", lambda *given: met.append(given))
    words = ("--init-from", folder, "--data", tmp_path, "--out", tmp_path / "run", "--set", "plans.decoder.batch=6")
    done = cli("train", "unclip", *words, "--engine", "ray", "--workers", "2-3")
    assert (done.code, done.out) == (0, ""), done.err
    ((command, least, most, config, *_),) = met
    assert command[:2] == ["train", "unclip"] and (least, most) == (2, 3) and not (tmp_path / "run").exists()
    assert by_ray.usable_worker_counts(config, most) == [1, 2], "sixteen of the prior and six"
