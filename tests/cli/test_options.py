"""Every option of every command reaches what it says it changes; an option without a row fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from pinxit.cli import app
from tests.cli.doors import SIDE, Notes, all_doors, picture
from tests.cli.option_rows import COMMANDS, Row


def commands(at: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    below = getattr(at, "commands", {})
    for name, command in below.items():
        yield from commands(command, (*path, name))
    if not below:
        yield " ".join(path), at


KNOWN = dict(commands(typer.main.get_command(app)))


def options(command: Any) -> set[str]:
    return {param.opts[0] for param in command.params if param.param_type_name == "option"}


def test_every_option_of_every_command_has_a_row() -> None:
    assert KNOWN.keys() == COMMANDS.keys()
    for name, command in KNOWN.items():
        assert options(command) == {row.option for row in COMMANDS[name].rows}, name


def outcome(folder: Path, arguments: tuple[str, ...]) -> dict[str, Any]:
    """What the command asked of others, what it printed, and the files it left."""
    before = furnish(folder)
    notes, done = invoke(folder, arguments)
    files = sorted(path.relative_to(folder).as_posix() for path in set(folder.rglob("*")) - before)
    told = {"stdout": done.stdout, "stderr": done.stderr, "files": " ".join(files), "error": str(done.exception or "")}
    return notes.seen | told


def furnish(folder: Path) -> set[Path]:
    """A new folder with what the commands' usual arguments name."""
    folder.mkdir()
    Image.fromarray(picture()).save(folder / "p.png")
    for name, size in (("m.png", 4), ("n.png", 8)):
        Image.fromarray(np.uint8(255) * (np.indices((SIDE, SIDE)).max(0) < size)).save(folder / name)
    (folder / "lines.txt").write_text("A red car\n\nb\n")
    return set(folder.rglob("*"))


def invoke(folder: Path, arguments: tuple[str, ...]) -> tuple[Notes, Any]:
    """Run a command in `folder` with stand-ins for all that is heavy."""
    there = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        notes = all_doors(patch)
        os.chdir(folder)
        try:
            return notes, CliRunner().invoke(app, list(arguments))
        finally:
            os.chdir(there)


usual: dict[str, dict[str, Any]] = {}


ROWS = [
    pytest.param(name, row, id=f"{name} {row.option}") for name, command in COMMANDS.items() for row in command.rows
]


@pytest.mark.parametrize(("command", "row"), ROWS)
def test_an_option_reaches_what_it_changes(command: str, row: Row, tmp_path: Path) -> None:
    words = tuple(command.split())
    if command not in usual:
        usual[command] = outcome(tmp_path / "usual", words + COMMANDS[command].usual)
        assert usual[command]["error"] in ("", *COMMANDS[command].ends)
    arguments = words + (row.arguments if row.instead else COMMANDS[command].usual + row.arguments)
    found = outcome(tmp_path / "changed", arguments)
    assert found["error"] in ("", *COMMANDS[command].ends) or "error" in row.expected, found["error"]
    for name, value in row.expected.items():
        assert name in found or value is None, f"nobody asked for {name}"
        assert found.get(name) == value, f"{name} is {found.get(name)!r}"
        assert usual[command].get(name) != value, f"{name} is so without {row.option}"
