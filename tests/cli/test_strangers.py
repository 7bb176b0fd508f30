"""Commands meet users' names and words: nothing is taken for markup, obeyed by a terminal, or a traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from pinxit.cli import app
from pinxit.cli.console import print_json, print_lines
from pinxit.errors import PinxitError
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.pictures import write_png
from pinxit.weights.clip_export import save_transformers_clip
from tests.cli.helpers import Cli

LABELS = ["[/bold]", "[red]a", "a [dark] cat", "\x1b[31mred", "fox\u202e", "[link=x]y[/link]"]
STRANGE = os.fsdecode(b"a\xff.png")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    vision = CLIPVisionConfig(size=32, patch=16, width=64, layers=1, heads=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_transformers_clip(CLIP(CLIPConfig(24, vision, CLIPTextConfig(width=64, layers=1, heads=1))), folder)
    return str(folder)


@pytest.fixture(autouse=True)
def plain_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled, which takes longer than all the rest."""
    monkeypatch.setattr("pinxit.recipes.clip.engine.find_spec", lambda name: None)


@pytest.fixture
def run(clip: str) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(app, [*words, "--checkpoint", clip, "--device", "cpu"])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, name in enumerate(("0.png", STRANGE)):
        write_png(tmp_path / "in" / name, np.full((8, 8, 3), 90 * number, np.uint8))
    return tmp_path / "in"


def test_names_that_are_not_utf8(run: Callable[..., Result], pictures: Path, tmp_path: Path) -> None:
    told = run("classify", str(pictures), "--labels", "a,b")
    assert told.exit_code == 0 and len(told.stdout.splitlines()) == 2 and "a\\xff.png" in told.stdout
    told = run("classify", str(pictures), "--labels", "a,b", "--json")
    told.stdout_bytes.decode("utf-8")
    assert json.loads(told.stdout.splitlines()[1])["path"] == str(pictures / STRANGE)


@pytest.mark.parametrize("label", LABELS)
def test_labels_are_words_and_no_markup(run: Callable[..., Result], pictures: Path, label: str) -> None:
    (pictures / "metadata.csv").write_text(f'file,age\n0.png,"{label}"\n')
    told = run("audit", str(pictures), "--labels", f"{label},b", "--group-by", "age")
    assert told.exit_code == 0 and "\x1b[31m" not in told.stdout
    together = "".join(told.stdout.split())
    for part in ("[/bold]", "[red]a", "[dark]", "\\x1b[31m", "\\u202e", "[link=x]"):
        assert part not in label or part in together


NOT_UTF8 = [("classify", "--labels", "a\udcff,b"), ("audit", "--labels", "\udcff,b", "--group-by", "age")]


@pytest.mark.parametrize("words", NOT_UTF8)
def test_words_that_are_not_utf8_are_refused(
    run: Callable[..., Result], pictures: Path, words: tuple[str, ...]
) -> None:
    (pictures / "metadata.csv").write_text("file,age\n0.png,old\n")
    with pytest.raises(PinxitError, match="a label is not UTF-8") as told:
        raise run(words[0], str(pictures), *words[1:]).exception or AssertionError
    str(told.value).encode()


def test_a_byte_order_mark_is_no_part_of_a_label_or_a_template(
    run: Callable[..., Result], pictures: Path, tmp_path: Path
) -> None:
    found = []
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "labels.txt").write_bytes(mark + b"a fox\r\na red circle\r\n")
        (tmp_path / "templates.txt").write_bytes(mark + b"a photo of a {}.\n")
        files = ("--labels-file", str(tmp_path / "labels.txt"), "--templates", str(tmp_path / "templates.txt"))
        found.append(run("classify", str(pictures / "0.png"), *files, "--json").stdout)
    assert found[0] == found[1] != ""


@pytest.mark.parametrize("command", ["classify", "search"])
def test_texts_that_are_too_long_are_refused_alike(run: Callable[..., Result], pictures: Path, command: str) -> None:
    long = "word " * 300
    if command == "classify":
        told = run("classify", str(pictures), "--labels", f"{long},a fox")
    else:
        pytest.importorskip("usearch")
        assert run("search", "index", str(pictures), "--out", str(pictures.parent / "i")).exit_code == 0
        told = run("search", "find", str(pictures.parent / "i"), long)
    assert "tokens, but CLIP reads 75: shorten it." in str(told.exception)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_is_full_is_one_sentence(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "a.txt").write_text("a square")
    command = [sys.executable, "-m", "pinxit", "data", "check", str(tmp_path)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "pinxit: cannot write the output: No space left on device."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", ["--version", "--help"])
def test_help_for_an_output_that_is_full(words: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        done = cli(words)
    assert (done.code, done.err) == (1, "pinxit: cannot write the output: No space left on device.\n")


def test_streams_that_the_caller_closed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    done = cli("paint", "--prompts", "-")
    assert done.code == 2 and "holds no prompts" in done.err
    monkeypatch.setattr(sys, "stdout", None)
    assert cli("recipes").code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no folder that a process is in")
def test_a_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = f"cd gone && rmdir ../gone && exec {sys.executable} -m pinxit recipes"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("pinxit: the folder that you work in is gone")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("text", ["猫", "é", "🦊", STRANGE, "\x1b[31m"])
def test_what_an_encoding_cannot_hold_is_escaped(monkeypatch: pytest.MonkeyPatch, encoding: str, text: str) -> None:
    """JSON says the same in any encoding, and lines for people are lines."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    print_json({"path": text})
    print_lines(text)
    first, second = raw.getvalue().decode(encoding).splitlines()
    assert json.loads(first) == {"path": text} and second
    assert text.encode(encoding, "replace").decode(encoding) != text or text in second or text == "\x1b[31m"
