"""`pinxit eval sweep` from outside: an Imagen, its upsampler and a DALL-E with random weights, under a random judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pinxit.data.decode import read_picture
from pinxit.models.detector import Detector
from pinxit.weights.checkpoint import Part, save_checkpoint
from tests.cli.helpers import Cli, Done
from tests.recipes.test_judge import TINY

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen
from tests.recipes.painters import save_random_checkpoint


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `nano` (an Imagen), `dalle` and `judge`."""
    folder = tmp_path_factory.mktemp("sweep")
    save_random_imagen(folder / "nano")
    save_random_checkpoint(folder / "dalle")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = Detector(TINY).state_dict()
    save_checkpoint(folder / "judge", "judge", {"detector": Part(TINY, state)}, settings={"world": "small"})
    return folder


@pytest.fixture
def random_eye(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances by a small CLIP, as they matter nowhere but in one test of true ones: the usual takes seconds."""
    monkeypatch.setattr("pinxit.cli.eval.sweep_setup.EYE", str(checkpoints / "dalle"))


def sweep(cli: Cli, checkpoints: Path, painter: str, *options: object, prompts: int = 3) -> Done:
    return cli("eval", "sweep", "--checkpoint", checkpoints / painter, "--judge", checkpoints / "judge",
               "--prompts", prompts, *options)  # fmt: skip


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"seconds": 0} for row in rows]


@pytest.mark.usefixtures("random_eye")
def test_guidance_and_thresholding_of_an_imagen(cli: Cli, checkpoints: Path, tmp_path: Path) -> None:
    out, plot, sheet = tmp_path / "sweep.json", tmp_path / "sweep.png", tmp_path / "sheet.png"
    done = sweep(cli, checkpoints, "nano", "--vary", "guidance=1,8", "--vary", "percentile=0,0.9", "--set", "steps=3",
                 "--out", out, "--plot", plot, "--sheet", sheet)  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads(out.read_text(encoding="utf-8"))
    rows = report["rows"]
    assert [tuple(row["settings"].values()) for row in rows] == [(1, 0, 3), (1, 0.9, 3), (8, 0, 3), (8, 0.9, 3)]
    assert all(row["evaluations"] == 3 and row["seconds"] > 0 for row in rows)
    assert len({(row["alignment"], row["distance"], row["saturated"]) for row in rows}) >= 3
    assert rows[2]["saturated"] > rows[3]["saturated"], "dynamic thresholding keeps colours off their limits"
    assert report["exam"]["prompts"] == 3 and report["machine"]["device"] and report["date"][:2] == "20"
    assert report["vary"] == {"guidance": [1, 8], "percentile": [0, 0.9]} and report["defaults"]["sampler"] == "ddim"
    assert report["true renders"]["distance"] == 0.0 and report["true renders"]["sharpness"] == 1.0
    assert "guidance" in done.out and "true renders" in done.out and max(map(len, done.out.splitlines())) <= 150
    drawn = read_picture(plot)
    assert drawn.shape[1] > 1000 and 0.01 < (drawn < 128).mean() < 0.5
    assert len(np.unique(read_picture(sheet).reshape(-1, 3), axis=0)) > 100
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.usefixtures("random_eye")
def test_an_interrupted_sweep_goes_on_and_ends_the_same(
    cli: Cli, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pinxit.recipes.imagen.painter import ImagenPainter

    options = ("--vary", "sampler=ddim,heun", "--vary", "steps=2,3")
    whole, halved = tmp_path / "whole.json", tmp_path / "halved.json"
    assert sweep(cli, checkpoints, "nano", *options, "--out", whole, prompts=2).code == 0
    paint, calls = ImagenPainter.paint_many, []

    def stop(self: ImagenPainter, *arguments: Any, **settings: Any) -> Any:
        calls.append((settings["sampler"], settings["steps"]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return paint(self, *arguments, **settings)

    monkeypatch.setattr(ImagenPainter, "paint_many", stop)
    assert sweep(cli, checkpoints, "nano", *options, "--out", halved, prompts=2).code == 130
    assert (tmp_path / "halved.json.part").is_file() and not halved.exists()
    other = sweep(cli, checkpoints, "nano", *options, "--seed", 1, "--out", halved, prompts=2)
    assert other.code == 2 and "holds half of an exam with other settings" in other.err
    shown: list[bool] = []
    monkeypatch.setattr("pinxit.cli.eval.report.print_rich", lambda *_: shown.append(halved.is_file()))
    assert sweep(cli, checkpoints, "nano", *options, "--out", halved, prompts=2).code == 0
    assert calls[3:] == [("heun", 2), ("heun", 3)] and shown == [True]
    assert without_time(rows_of(halved)) == without_time(rows_of(whole))
    assert [row["evaluations"] for row in rows_of(whole)] == [2, 3, 3, 5]


@pytest.mark.usefixtures("random_eye")
def test_the_upsampler_alone_varies_over_the_same_small_pictures(
    cli: Cli, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pinxit.recipes.imagen.painter import ImagenPainter

    paint, calls, out = ImagenPainter.paint_many, [], tmp_path / "sweep.json"

    def count(self: ImagenPainter, *arguments: Any, **settings: Any) -> Any:
        calls.append(settings)
        return paint(self, *arguments, **settings)

    monkeypatch.setattr(ImagenPainter, "paint_many", count)
    done = sweep(cli, checkpoints, "nano", "--vary", "augmentation=0,0.4,1", "--set", "upsampler_steps=3", "--upscale",
                 "--out", out, "--sheet", tmp_path / "sheet.png")  # fmt: skip
    assert done.code == 0, done.err
    assert len(calls) == 1 and not {"augmentation", "upsampler_steps"} & calls[0].keys()
    rows = rows_of(out)
    assert len({row["distance"] for row in rows}) == 3 and "4 + 3" in done.out
    assert {(row["evaluations"], row["upsampler_evaluations"]) for row in rows} == {(4, 3)}


def test_temperature_of_a_dalle(cli: Cli, checkpoints: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep.json"
    done = sweep(cli, checkpoints, "dalle", "--vary", "temperature=0.5,1", "--out", out, "--plot", tmp_path / "p.png",
                 prompts=2)  # fmt: skip
    assert done.code == 0, done.err
    rows = rows_of(out)
    assert [row["settings"] for row in rows] == [{"temperature": 0.5}, {"temperature": 1}]
    assert rows[0]["distance"] != rows[1]["distance"] and rows[0]["evaluations"] is None
    assert (read_picture(tmp_path / "p.png") < 128).mean() > 0.005


@pytest.mark.parametrize(
    ("painter", "options", "told"),
    [
        ("nano", ("--vary", "magic=1,2"), "there is no setting 'magic' here: choose from guidance, steps, sampler, "),
        ("nano", ("--vary", "augmentation=0,1"), "augmentation is a setting of the upsampler: only `eval sweep"),
        ("nano", ("--vary", "guidance=1", "--set", "upsampler_steps=2"), "upsampler_steps is a setting of the ups"),
        ("dalle", ("--vary", "temperature=1", "--upscale"), "has no upsampler: leave out --upscale, or name an Imagen"),
        ("nano", ("--vary", "guidance=1,-2"), "guidance must be at least 0 and finite, not -2."),
        ("nano", ("--vary", "sampler=ddim,magic"), "there is no sampler 'magic'; choose from ancestral, ddim"),
        ("nano", ("--vary", "augmentation=0,2", "--upscale"), "augmentation must be from 0 to 1, not 2."),
        ("nano", ("--vary", "upsampler_steps=0", "--upscale"), "upsampler_steps must be from 1 to 1000, not 0."),
        ("nano", ("--vary", "upsampler_guidance=-1", "--upscale"), "upsampler_guidance must be at least 0 and finite"),
        ("nano", ("--vary", "guidance"), "--vary guidance: write NAME=V1,V2,..."),
        ("nano", ("--vary", "guidance=1,,2"), "a value is missing; write guidance=V1,V2,..."),
        ("nano", ("--vary", "guidance=1", "--vary", "guidance=2"), "--vary guidance is given twice"),
        ("nano", ("--vary", "guidance=1,1.0"), "--vary guidance names 1.0 twice"),
        ("nano", ("--vary", "guidance=1", "--set", "guidance=2"), "leave out --vary guidance or --set guidance"),
        ("nano", ("--vary", "guidance=1", "--split", "all"), "split must be one of"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_before_anything_is_painted(
    cli: Cli, checkpoints: Path, tmp_path: Path, painter: str, options: tuple[str, ...], told: str
) -> None:
    done = sweep(cli, checkpoints, painter, *options, "--out", tmp_path / "out.json")
    assert done.code == 2 and told in done.err and "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


def test_values_with_commas_are_a_list() -> None:
    from pinxit.cli.eval.sweep import _varied

    assert _varied(['spacing=["10,10", "smart50"]', "guidance=1,2.5"]) == {
        "spacing": ["10,10", "smart50"],
        "guidance": [1, 2.5],
    }
