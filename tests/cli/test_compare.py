"""`pinxit paint --compare`: every system's pictures of one sentence, ranked by one CLIP on one sheet."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pinxit.cli.compare import _write
from pinxit.data.decode import read_picture
from pinxit.pictures import read_metadata
from pinxit.types import Ranked
from tests.cli.helpers import Cli

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.unclips import save_random_unclip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Random networks in place of what ships."""
    save_random_checkpoint(tmp_path / "dalle")
    imagen = save_random_imagen(tmp_path / "imagen" / "nano")
    unclip = save_random_unclip(tmp_path / "unclip" / "nano")
    found = {"dalle": str(tmp_path / "dalle"), "imagen": str(imagen), "unclip": str(unclip)}
    monkeypatch.setattr("pinxit.cli.paint.installed", lambda: {name: found[name] for name in ("dalle", "imagen")})
    return found


def test_all_systems_are_ranked_by_one_clip(cli: Cli, here: dict[str, str], tmp_path: Path) -> None:
    """And each system's pictures are the ones that it paints alone, by that CLIP."""
    words = ["paint", "a red square", "--candidates", 3, "--keep", 2, "--seed", 4, "--json"]
    words += ["--ranker", here["dalle"]]
    done = cli(*words, "--steps", 2, "--compare", "--checkpoint", here["unclip"], "--out", tmp_path / "all")
    assert done.code == 0, done.err
    found = json.loads(done.out)["pictures"]
    assert [one["recipe"] for one in found].count("unclip") == 2 and {one["recipe"] for one in found} == set(here)
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    sheet = read_picture(Path(found[0]["path"]).parent / "sheet.png")
    assert sheet.shape[0] > 3 * 150, "a row a system"
    for recipe, folder in here.items():
        mine = [*words, "--checkpoint", folder, "--upscale", 0, "--set", "agreement=0", "--out", tmp_path / recipe]
        mine += [] if recipe == "dalle" else ["--steps", 2]
        alone = json.loads(cli(*mine).out)["pictures"]
        theirs = [one for one in found if one["recipe"] == recipe]
        for one, other in zip(theirs, alone, strict=True):
            assert (one["candidate"], one["score"]) == (other["candidate"], other["score"])
            assert (read_picture(Path(one["path"])) == read_picture(Path(other["path"]))).all()
            assert read_metadata(Path(one["path"]))["recipe"] == recipe


def test_pictures_of_an_older_comparison_go_and_nothing_else(tmp_path: Path) -> None:
    others = ("notes.txt", "99-seed0-candidate0.png", "my-99-dalle-seed0-candidate0.png")
    for name in (*others, "09-dalle-seed0-candidate7.png", "100-imagen-seed12-candidate34.png"):
        (tmp_path / name).touch()
    ranked = [Ranked(np.zeros((8, 8, 3), np.uint8), 0, candidate, 0.5) for candidate in (1, 0)]
    one: Any = SimpleNamespace(recipe="dalle", facts={})
    written = [Path(told["path"]).name for told in _write(tmp_path, "a cat", [(one, ranked)], {})]
    assert written == ["01-dalle-seed0-candidate1.png", "02-dalle-seed0-candidate0.png"]
    assert {path.name for path in tmp_path.iterdir()} == {*written, "sheet.png", *others}


def test_all_are_enlarged_alike(cli: Cli, here: dict[str, str], tmp_path: Path) -> None:
    large = save_random_imagen(tmp_path / "large" / "nano", 0, "stages.upsampler.size=64")
    words = ("--compare", "--candidates", 1, "--keep", 1, "--ranker", here["dalle"], "--upscale", 64)
    done = cli("paint", "a cat", *words, "--upsampler", large, "--json", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    pictures = json.loads(done.out)["pictures"]
    assert [read_picture(Path(one["path"])).shape for one in pictures] == [(64, 64, 3)] * 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--recipe", "imagen"), "leave out --recipe, --int8 and --engine ray"),
        (("--int8",), "leave out --recipe, --int8 and --engine ray"),
        (("--set", "magic=1"), "none of dalle, imagen has a setting 'magic'"),
        (("--checkpoint", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    cli: Cli, here: dict[str, str], tmp_path: Path, options: tuple[object, ...], told: str
) -> None:
    done = cli("paint", "a cat", "--compare", "--ranker", here["dalle"], "--out", tmp_path / "out", *options)
    assert done.code != 0 and told in done.err and "Traceback" not in done.err and not (tmp_path / "out").exists()


def test_one_system_is_nothing_to_compare(
    cli: Cli, here: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinxit.cli.paint.installed", lambda: {"dalle": here["dalle"]})
    done = cli("paint", "a cat", "--compare", "--out", tmp_path / "out")
    assert done.code == 2 and "there is but one system to compare" in done.err
