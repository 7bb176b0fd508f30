"""One folder has one writer at a time, and what a killed one left is nobody's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pinxit.errors import PinxitError, UsageError
from pinxit.files import LOCK, alone, alone_in, beside, replacing
from tests.cli.helpers import Cli
from tests.cli.helpers import cli as cli
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.squares import write_squares

HOLD = """
import sys
from pathlib import Path
from pinxit.files import alone_in
with alone_in(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is alone in `folder`."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout and other.stdout.readline() == b"held\n"
        yield other
    finally:
        other.kill()
        other.wait()


def test_the_second_is_refused_until_the_first_is_done_or_dead(tmp_path: Path) -> None:
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with held(tmp_path / "out") as other:
            with (
                pytest.raises(UsageError, match=r"another command writes the shards out: try again"),
                alone_in(tmp_path / "out", "the shards out"),
            ):
                pass
            os.kill(other.pid, ending)
            other.wait()
            assert (tmp_path / "out" / LOCK).exists(), "which a dead process cannot take away"
            with alone_in(tmp_path / "out", "it"):
                pass
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_lets_go_and_leaves_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone(tmp_path / "new" / LOCK, "it"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()
    with alone_in(tmp_path / "new", "it"), pytest.raises(UsageError), alone_in(tmp_path / "new", "it"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(PinxitError, match="cannot write"), alone_in(tmp_path / "file", "it"):
        pass


def test_what_killed_commands_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in (".a.part", "b.txt.1-2-3.part", ".c.1-2-3.parting", ".d.txt.1-2-3.old")]
    left = [beside(tmp_path / "e.txt"), tmp_path / "in" / beside(tmp_path / "f.npy").name]
    (tmp_path / "in").mkdir()
    for path in (*kept, *left):
        path.touch()
    half = beside(tmp_path / "checkpoint")
    half.mkdir()
    (half / "weights").touch()
    with replacing(tmp_path / "g") as now:
        assert now.name.endswith(".part")
    with alone_in(tmp_path, "it"):
        assert not half.exists() and not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def nano(*recipe: str) -> Callable[[Path], list[Any]]:
    return lambda folder: ["train", *recipe, "--out", folder / "out"]


COMMANDS: dict[str, Callable[[Path], list[Any]]] = {
    "dalle": nano("dalle", "--preset", "nano"),
    "clip": nano("clip", "--preset", "nano"),
    "imagen": nano("imagen", "--preset", "nano"),
    "unclip": nano("unclip", "--preset", "nano"),
    "judge": nano("judge"),
    "classifier": nano("classifier", "--data", "drawings:small"),
    "shards": lambda folder: ["data", "build", write_squares(folder / "squares"), "--out", folder / "out"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_two_commands_into_one_folder(command: str, tmp_path: Path, cli: Cli) -> None:
    with held(tmp_path / "out"):
        done = cli(*COMMANDS[command](tmp_path))
    assert done.code == 2 and len(done.err.strip().splitlines()) == 1, done.err
    assert f"another command writes the {'shards' if command == 'shards' else 'run'} {tmp_path / 'out'}" in done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {LOCK}


def test_two_exams_into_one_report(tmp_path: Path, cli: Cli) -> None:
    save_random_checkpoint(tmp_path / "painter")
    exam = ["eval", "world", "--checkpoint", tmp_path / "painter", "--prompts", 6, "--candidates", 1]
    with alone(tmp_path / ".report.json.lock", "it"):
        done = cli(*exam, "--out", tmp_path / "report.json")
    assert done.code == 2 and "another command writes the report" in done.err
    assert not (tmp_path / "report.json").exists()
