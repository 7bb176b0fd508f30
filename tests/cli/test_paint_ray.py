"""Painting by Ray: the same files as without it, goes on where it stopped, and outlives a process that is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinxit import cluster
from pinxit.cli.paint_output import read_results, write_results
from pinxit.cli.paint_ray import PaintingWorker
from pinxit.cli.painter_choice import PainterChoice
from pinxit.errors import install
from pinxit.types import Ranked
from tests.cli.helpers import Cli
from tests.processes import below
from tests.recipes.painters import CAPTIONS, save_random_checkpoint

PROMPTS = [f"{caption} and {other}" for caption in sorted(set(CAPTIONS)) for other in ("a cat", "a dog", "a star")]
DRAWN = ("--candidates", 3, "--keep", 2, "--json")


@pytest.fixture
def painter(tmp_path: Path) -> Path:
    save_random_checkpoint(tmp_path / "painter")
    (tmp_path / "prompts.txt").write_text("\n".join([*PROMPTS, PROMPTS[0]]))
    return tmp_path / "painter"


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.png")
    }


def arguments(painter: Path, out: Path, *more: object) -> list[object]:
    return ["paint", "--prompts", painter.parent / "prompts.txt", "--checkpoint", painter, *DRAWN, "--out", out, *more]


def test_a_process_paints_what_nobody_has_painted(painter: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(*arguments(painter, tmp_path / "local")).code == 0
    whole, out = digests(tmp_path / "local"), tmp_path / "out"
    choice = PainterChoice(str(painter), "auto", False, None, None, None, None, {})
    opened, asked = choice.open(), {"seed": 0, "candidates": 3, "keep": 2}
    facts = opened.painter.facts(opened.facts(asked))
    told = {"choice": choice, "asked": asked, "out": "out", "facts": facts, "here": str(tmp_path), "threads": 1}
    there = Path.cwd()
    try:
        painting = PaintingWorker(told)
        for some in (PROMPTS[:3], PROMPTS[:5]):
            before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
            assert painting({"prompt": np.array(some, object)}) == {"prompt": some, "refused": [""] * len(some)}
            assert before.items() <= {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}.items()
    finally:
        os.chdir(there)
    found = digests(out)
    (tmp_path / "file").touch()
    painting.out = tmp_path / "file"
    assert "file is a file" in painting({"prompt": np.array(PROMPTS[:1], object)})["refused"][0]
    assert len(found) == 5 * 3 and found.items() <= whole.items()


def test_what_is_painted_needs_no_cluster(painter: Path, tmp_path: Path, cli: Cli, monkeypatch: Any) -> None:
    pytest.importorskip("ray", reason="pinxit[ray] is not installed")
    local = cli(*arguments(painter, tmp_path / "out"))
    monkeypatch.setattr(cluster, "connected", None)
    again = cli(*arguments(painter, tmp_path / "out", "--engine", "ray"))
    assert (again.code, again.out) == (0, local.out), "told once more, as without Ray"
    words = [word for word in arguments(painter, tmp_path / "out", "--engine", "ray") if word != "--json"]
    folders = [Path(json.loads(line)["pictures"][0]["path"]).parent for line in local.out.splitlines()]
    assert cli(*words).out.splitlines() == [str(folder / "sheet.png") for folder in folders]
    assert len(local.out.splitlines()) == len(PROMPTS) + 1


def test_what_was_painted_before_is_told_best_first_however_many_were_kept(tmp_path: Path) -> None:
    ranked = [Ranked(np.zeros((4, 4, 3), np.uint8), 0, k, -float(k)) for k in range(102)]
    write_results(tmp_path, "a cat", ranked, {})
    told = read_results(tmp_path, "a cat")["pictures"]
    assert [one["candidate"] for one in told] == list(range(102))


def test_without_ray_one_sentence_says_how_to_install_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    done = cli("paint", "a cat", "--engine", "ray")
    assert (done.code, done.err) == (2, f"pinxit: --engine ray needs Ray: {install('ray')}.\n")


def test_options_that_do_not_fit_are_refused(cli: Cli) -> None:
    done = cli("paint", "a cat", "--workers", "2")
    assert (done.code, "--workers 2 is for --engine ray" in done.err) == (2, True)
    done = cli("paint", "a cat", "--compare", "--engine", "ray")
    assert (done.code, "leave out --recipe, --int8 and --engine ray" in done.err) == (2, True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_process_is_replaced_and_nothing_is_lost_or_done_twice(
    painter: Path, tmp_path: Path, cli: Cli
) -> None:
    pytest.importorskip("ray", reason="pinxit[ray] is not installed")
    local, out = cli(*arguments(painter, tmp_path / "local")), tmp_path / "out"
    command = [sys.executable, "-m", "pinxit", *map(str, arguments(painter, out, "--engine", "ray", "--workers", 2))]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    written: dict[Path, int] = {}
    killed: list[int] = []
    while running.poll() is None:
        for sheet in out.glob("*/sheet.png"):
            written.setdefault(sheet, sheet.stat().st_mtime_ns)
        if written and not killed and len(written) < len(PROMPTS) - 1:
            killed = [pid for pid, words in below(running.pid) if "MapWorker" in words][:1]
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    told, errors = running.communicate()
    assert running.returncode == 0, errors
    assert killed, "one was at work"
    assert digests(out) == digests(tmp_path / "local")
    assert {sheet: sheet.stat().st_mtime_ns for sheet in written} == written, "what was done is not done again"
    expected = [json.loads(line.replace(str(tmp_path / "local"), str(out))) for line in local.out.splitlines()]
    assert [json.loads(line) for line in told.splitlines()] == expected
