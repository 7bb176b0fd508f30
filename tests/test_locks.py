"""One folder has one writer at a time, and what a killed one left is nobody's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pinxit.errors import PinxitError, UsageError
from pinxit.files import atomic_file, temporary_path
from pinxit.locks import LOCK, file_lock, folder_lock
from pinxit.serve.keys import Keys, add_key
from tests.cli.helpers import Cli
from tests.cli.helpers import cli as cli
from tests.cli.option_rows import COMMANDS
from tests.cli.test_options import KNOWN, furnish, invoke, options
from tests.recipes.squares import write_squares

HOLD = """
import sys
from pathlib import Path
from pinxit.locks import folder_lock
with folder_lock(Path(sys.argv[1]), "it"):
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
                folder_lock(tmp_path / "out", "the shards out"),
            ):
                pass
            os.kill(other.pid, ending)
            other.wait()
            assert (tmp_path / "out" / LOCK).exists(), "which a dead process cannot take away"
            with folder_lock(tmp_path / "out", "it"):
                pass
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_lets_go_and_leaves_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), file_lock(tmp_path / "new" / "in it" / LOCK, "it"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()
    with folder_lock(tmp_path / "new", "it"), pytest.raises(UsageError), folder_lock(tmp_path / "new", "it"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(PinxitError, match="cannot write"), folder_lock(tmp_path / "file", "it"):
        pass


@pytest.mark.parametrize("waiting", [None, lambda: None])
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that takes no files")
def test_where_no_lock_can_be_nobody_waits_for_ever(waiting: Callable[[], None] | None) -> None:
    for folder in (Path("/proc/self"), Path("/proc/new")):
        with pytest.raises(PinxitError, match="cannot write"), folder_lock(folder, "it", waiting):
            pass


def test_what_killed_commands_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in (".a.part", "b.txt.1-2-3.part", ".c.1-2-3.parting", ".d.txt.1-2-3.old")]
    left = [temporary_path(tmp_path / "e.txt"), tmp_path / "in" / temporary_path(tmp_path / "f.npy").name]
    (tmp_path / "in").mkdir()
    for path in (*kept, *left):
        path.touch()
    half = temporary_path(tmp_path / "checkpoint")
    half.mkdir()
    (half / "weights").touch()
    with atomic_file(tmp_path / "g") as now:
        assert now.name.endswith(".part")
    with folder_lock(tmp_path, "it"):
        assert not half.exists() and not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def nano(*recipe: str) -> Callable[[Path], list[Any]]:
    return lambda folder: ["train", *recipe, "--out", folder / "out"]


REFUSED: dict[str, Callable[[Path], list[Any]]] = {
    "train dalle": nano("dalle", "--preset", "nano"),
    "train clip": nano("clip", "--preset", "nano"),
    "train imagen": nano("imagen", "--preset", "nano"),
    "train unclip": nano("unclip", "--preset", "nano"),
    "train judge": nano("judge"),
    "train classifier": nano("classifier", "--data", "drawings:small"),
    "data build": lambda folder: ["data", "build", write_squares(folder / "squares"), "--out", folder / "out"],
    "search index": lambda folder: ["search", "index", write_squares(folder / "squares"), "--out", folder / "out"],
}
KINDS = {"data build": "shards", "search index": "index"}
BESIDE = ".result.lock"
ONE_RESULT = {
    "eval world": (BESIDE, "the report result"),
    "eval famous": (BESIDE, "the report result"),
    "eval sweep": (BESIDE, "the report result"),
    "export": (BESIDE, "the folder result"),
    "data encode": ("result/.text.lock", "what text says in result"),
    "data index": ("result/.index.lock", "the index in result"),
}
WAIT = ("paint", "complete", "edit", "vary", "blend", "shift", "reconstruct")
ONE_FILE = ("search find", "data preview")  # which is replaced as a whole, and keeps nothing of what was there


def test_every_command_that_writes_is_told_of_here() -> None:
    writes = {name for name, command in KNOWN.items() if "--out" in options(command)}
    assert writes == {*REFUSED, *ONE_RESULT, *WAIT, *ONE_FILE}


@pytest.mark.parametrize("command", REFUSED)
def test_two_commands_into_one_folder(command: str, tmp_path: Path, cli: Cli) -> None:
    with held(tmp_path / "out"):
        done = cli(*REFUSED[command](tmp_path))
    assert done.code == 2 and len(done.err.strip().splitlines()) == 1, done.err
    assert f"another command writes the {KINDS.get(command, 'run')} {tmp_path / 'out'}" in done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {LOCK}


@pytest.mark.parametrize("command", ONE_RESULT)
def test_two_commands_for_one_result(command: str, tmp_path: Path) -> None:
    furnish(tmp_path / "in")
    words = (*command.split(), *COMMANDS[command].usual, "--out", "result")
    lock, what = ONE_RESULT[command]
    with file_lock(tmp_path / "in" / lock, "it"):
        notes, done = invoke(tmp_path / "in", words)
    assert f"another command writes {what}: try again" in str(done.exception)
    assert not (tmp_path / "in" / "result").exists() and "paint.prompts" not in notes.seen


@pytest.mark.parametrize("command", [*WAIT, "paint --compare"])
def test_the_same_pictures_at_once_wait(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish(tmp_path / "in")
    words = (*command.split(), *COMMANDS[command.split()[0]].usual, "--out", "out")
    _, first = invoke(tmp_path / "in", words)
    folder = tmp_path / "in" / Path(first.stdout.strip()).parent
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "sheet.png" in left and LOCK not in left
    with held(folder) as other:
        (folder / "sheet.png").write_bytes(b"half")
        said: list[str] = []

        def end_the_other(told: str) -> None:
            assert (folder / "sheet.png").read_bytes() == b"half"
            said.append(told)
            other.kill()

        monkeypatch.setattr("pinxit.cli.paint_output.warn", end_the_other)
        _, done = invoke(tmp_path / "in", words)
    paints = f"pinxit: another command paints into {folder.relative_to(tmp_path / 'in')}; this one waits"
    assert [told.split(" until")[0] for told in said] == [paints]
    assert (done.exception, done.stdout) == (None, first.stdout)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == left


def test_who_waits_goes_on_where_the_other_leaves_nothing(tmp_path: Path) -> None:
    said = []

    def give_up() -> None:
        with suppress(KeyboardInterrupt), folder_lock(tmp_path / "new", "it"):
            began.set()
            time.sleep(0.3)
            raise KeyboardInterrupt

    began, other = threading.Event(), threading.Thread(target=give_up)
    other.start()
    assert began.wait(10)
    with folder_lock(tmp_path / "new", "it", waiting=lambda: said.append("once")):
        other.join(10)
        assert not other.is_alive()
        assert (tmp_path / "new" / LOCK).exists()
    assert said == ["once"]


def test_keys_made_at_once_are_all_kept(tmp_path: Path) -> None:
    names = [f"key{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda name: add_key(tmp_path / "keys", name), names))
    found = [Keys.read(tmp_path / "keys").caller(key) for key in keys]
    assert [one and one.name for one in found] == [f"key:{name}" for name in names]
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
