from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from pinxit.cli.data import app
from pinxit.data.shards import ShardDataset
from pinxit.data.sources import open_source
from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.pictures import read_metadata
from tests.data.helpers import encoded, gradient

runner = CliRunner()


def run(*arguments: object) -> Result:
    return runner.invoke(app, [str(argument) for argument in arguments])


def fails(kind: type[PinxitError], message: str, *arguments: object) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, kind) and message in str(result.exception)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for number in range(5):
        (path / f"{number}.png").write_bytes(encoded(gradient(16, 16 + number), "PNG"))
        (path / f"{number}.txt").write_text(f"picture {number}\nthe second caption")
    return path


def test_preview_of_a_world(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    result = run("preview", "world:small", "--count", 3, "--split", "unseen", "--language", "en", "--out", out)
    assert result.exit_code == 0 and result.stdout == f"{out}\n"
    about = read_metadata(out)
    assert about["source"] == "world:small" and len(about["captions"]) == 3
    world = open_source("world:small", 64, "unseen", language="en", seed=0)
    assert about["captions"] == [world[place].captions[0] for place in range(3)], "a world's first items"
    other = tmp_path / "other.png"
    run("preview", "world:small", "--count", 3, "--split", "unseen", "--language", "en", "--seed", 1, "--out", other)
    assert read_metadata(other)["captions"] != about["captions"]
    told = {}
    for names in ("usual", "many"):
        run("preview", "world:small", "--count", 3, "--captions", 4, "--names", names, "--out", other)
        told[names] = read_metadata(other)["captions"]
    assert told["usual"] != told["many"]


def test_preview_of_a_folder_skips_and_names_what_is_broken(tmp_path: Path, folder: Path) -> None:
    (folder / "2.png").write_bytes(b"oops")
    out = tmp_path / "sheet.png"
    result = run("preview", folder, "--out", out, "--size", 32, "--captions", 2, "--columns", 2, "--count", 10**30)
    assert result.exit_code == 0
    assert "skipped 1: 2.png (is not a picture of a known format (JPEG, PNG, WEBP, BMP, GIF))." in result.stderr
    captions = read_metadata(out)["captions"]
    assert sorted(captions) == [f"picture {n}\nthe second caption" for n in (0, 1, 3, 4)]
    assert np.array(Image.open(out)).std() > 20


@pytest.mark.parametrize("font", [None, Path("some.ttf")])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_preview_says_when_no_font_has_its_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, font: Path | None, language: str
) -> None:
    monkeypatch.setattr("pinxit.data.fonts.system_font", lambda kind: font if kind == "chinese" else None)
    monkeypatch.setattr("pinxit.data.sheet.sheet", lambda pictures, texts, columns: pictures[0])
    done = run("preview", "world:small", "--out", tmp_path / "sheet.png", "--count", 1, "--language", language)
    assert done.exit_code == 0
    assert ("has no Chinese font" in done.stderr) == (font is None and language == "zh"), done.stderr


def test_preview_needs_something_to_show(tmp_path: Path, folder: Path) -> None:
    for path in folder.glob("*.png"):
        path.write_bytes(b"oops")
    fails(DataError, "has no picture that can be shown", "preview", folder, "--out", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_build_writes_shards_and_resumes(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "shards"
    arguments = ("build", folder, "--out", out, "--per-shard", 2, "--size", 8, "--format", "webp", "--workers", 1)
    for _ in range(2):
        result = run(*arguments)
        assert result.exit_code == 0 and result.stdout == f"5 items in 3 shards in {out}\n"
    assert len(ShardDataset(sorted(out.glob("*.tar")), 8)) == 5
    fails(UsageError, "png or webp, not gif", *arguments[:-4], "--format", "gif")


def test_build_of_a_world_with_two_processes(tmp_path: Path) -> None:
    result = run("build", "world:small", "--out", tmp_path, "--count", 6, "--size", 32, "--workers", 2)
    assert result.exit_code == 0, result.output
    dataset = ShardDataset([tmp_path / "00000.tar"], 32)
    assert len(dataset) == 6 and dataset[0].captions
    assert json.loads((tmp_path / "shards.json").read_text())["source"]["preset"] == "small"


def test_check_of_sound_data(folder: Path) -> None:
    result = run("check", folder, "--workers", 1)
    assert result.exit_code == 0
    assert result.stdout == "5 pictures with 10 captions can be used\n"


def test_check_names_broken_files_and_exits_with_1(folder: Path) -> None:
    for number in range(5, 20):
        (folder / f"{number}.png").write_bytes(b"")
        (folder / f"{number}.txt").write_text("caption")
    (folder / "0.txt").write_bytes(b"\xff\xfe")
    result = run("check", folder, "--workers", 1)
    assert result.exit_code == 1 and "4 pictures with 8 captions" in result.stdout
    assert "skipped 16: 0.png (its caption is not UTF-8)" in result.stderr and "and 6 more" in result.stderr
    everything = run("check", folder, "--workers", 1, "--all").stderr
    assert all(f"{number}.png (is empty)" in everything for number in range(5, 20)) and "more" not in everything


def test_senseless_requests(tmp_path: Path) -> None:
    fails(UsageError, "nothing to check", "check", "world:small")
    fails(DataError, "no file or folder", "check", tmp_path / "missing")
    fails(UsageError, "only the world has language", "preview", tmp_path, "--language", "en")
    fails(UsageError, "names must be one of usual, many, not 'all'.", "preview", "world:small", "--names", "all")
    assert run("preview", "world:small", "--count", 0).exit_code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_ctrl_c_exits_with_130_without_a_word_or_half_a_shard(tmp_path: Path) -> None:
    """Ctrl-C reaches the workers too; while they start they used to print tracebacks over each other."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pinxit", "data", "build", "world:small", "--out", str(out), "--count", "100000"]
    process = subprocess.Popen(
        [*command, "--workers", "2"],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job starts with it ignored
    )
    while not (out / "shards.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert [path.name for path in out.iterdir()] == ["shards.json"]
