"""Commands killed at random moments, and on a disk that is full.

Every command runs in a child that this process forks, so that nothing is imported twice. Half of the moments lie
between two calls that change files (a hook counts them, and kills from inside), half are moments in time. Then the same
command is given again: it must end well and leave what an undisturbed run leaves.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
import random
import resource
import signal
import sys
import tarfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import typer.main
from PIL import Image
from safetensors import safe_open

import pinxit
from pinxit.cli import app
from pinxit.recipes.clip import encoder
from pinxit.recipes.clip.engine import Engine, pick_engine
from pinxit.training import flops
from tests.killed_commands import Command

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree")
VOLATILE = ("metrics.jsonl", "README.md", "pinxit.json", "index.json", "shards.json")  # hours, dates, or times of files
KINDS = ("change", "moment", "full", "change", "moment")
LATER = ("torch._dynamo", "torch.distributed.fsdp", "numpy.random", "usearch.index")  # imported by those who use them
SPARE = "state.before.safetensors"  # whole, but of whichever save came before


@dataclass(frozen=True)
class Ending:
    code: int  # below zero: by that signal
    changes: int
    seconds: float
    told: str


def disturbed(commands: Mapping[str, Command], folder: Path, moments: int, seed: int) -> Iterator[dict[str, Any]]:
    """What came of each of so many moments, in which the commands take turns."""
    names = list(commands)
    straight: dict[str, tuple[Ending, dict[str, str]]] = {}
    for number in range(moments):
        name = names[number % len(names)]
        if name not in straight:
            ending = child(commands[name], folder / "straight" / name)
            assert ending.code == 0, f"{name}: {ending}"
            straight[name] = ending, left_in(folder / "straight" / name)
        usual, expected = straight[name]
        dice = random.Random(f"{seed} {name} {number}")
        out = folder / str(number) / name
        kind = KINDS[(number // len(names) + number) % len(KINDS)]  # each command meets each, whoever else is tried
        how, first = disturb(commands[name], out, usual, kind, dice)
        broken = damaged(out)
        ending = child(commands[name], out)
        found = left_in(out)
        wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        told = {"command": name, "how": how, "broken": broken, "code": ending.code, "told": ending.told}
        yield told | {"differs": wrong, "first": first}


def import_all() -> None:
    """What children then need not import, nor measure."""
    for module in pkgutil.walk_packages(pinxit.__path__, "pinxit."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)
    for name in LATER:
        importlib.import_module(name)
    vars(encoder)["pick_engine"] = _pick_torch
    flops.MEASURED = 0.0  # else for a second in every child that trains, and most would be killed in it
    flops.matrix_rate(torch.float32, "cpu")
    typer.main.get_command = cache(typer.main.get_command)
    typer.main.get_command(app)


def _pick_torch(requested: Engine, device: torch.device) -> Engine:
    """OpenVINO would compile a tower again in every child, and has no part in what is written."""
    return pick_engine("torch" if requested == "auto" else requested, device)


def disturb(run: Command, out: Path, usual: Ending, kind: str, dice: random.Random) -> tuple[str, str]:
    """How the command was disturbed, and what it said; a third of the time twice, the second time in any way."""
    how, told = [], ""
    for way in (kind, *dice.choice(((), (), (dice.choice(KINDS),)))):
        number = 0.0
        if way == "change":
            ending = child(run, out, dies_at=int(number := dice.randrange(usual.changes)))
        elif way == "moment":
            ending = child(run, out, dies_after=(number := dice.random() * usual.seconds))
        else:
            ending = child(run, out, largest=int(number := 10 ** dice.uniform(0, 5)))
            assert "Traceback" not in ending.told and ending.code in (0, 1, 2), (
                f"{run}: full at {number}: {ending.told}"
            )
            told = ending.told
            assert ending.code == 0 or len(told.strip().splitlines()[-1:]) == 1, told
        how.append(f"{way} {number:.2f}: {ending.code}")
    return ", ".join(how), told


def child(
    run: Command,
    out: Path,
    dies_at: int | None = None,
    dies_after: float | None = None,
    largest: int | None = None,
) -> Ending:
    """Run a command in a child of this process; `largest`: bytes that a file may have, as on a full disk."""
    pid, ending = begun(run, out, dies_at, largest)
    if dies_after is not None:
        time.sleep(dies_after)
        os.kill(pid, signal.SIGKILL)
    return ending()


def begun(
    run: Command, out: Path, dies_at: int | None = None, largest: int | None = None
) -> tuple[int, Callable[[], Ending]]:
    """The number of a child that has begun a command, and what waits for its ending."""
    reading, writing = os.pipe()
    counting, counted = os.pipe()
    began = time.monotonic()
    if (pid := os.fork()) == 0:
        _as_child(run, out, writing, counted, dies_at, largest)
    os.close(writing)
    os.close(counted)

    def ending() -> Ending:
        with os.fdopen(reading) as told, os.fdopen(counting, "rb") as changes:
            said, number = told.read(), changes.read()
        _, status = os.waitpid(pid, 0)
        return Ending(os.waitstatus_to_exitcode(status), int(number or 0), time.monotonic() - began, said)

    return pid, ending


def _as_child(run: Command, out: Path, told: int, counted: int, dies_at: int | None, largest: int | None) -> None:
    changes = 0

    def hook(event: str, about: tuple[Any, ...]) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(about[2], int) and about[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in CHANGES or writes:
            if changes == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            changes += 1

    code = 0
    try:
        os.dup2(told, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        out.parent.mkdir(parents=True, exist_ok=True)
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        sys.addaudithook(hook)
        run(out)
    except SystemExit as ending:
        code = int(ending.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stderr.flush()
    os.write(counted, str(changes).encode())
    os._exit(code)


def visible(out: Path) -> list[Path]:
    return sorted(
        path
        for path in out.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(out).parts)
    )


def damaged(out: Path) -> list[str]:
    """Files that are there and are not whole, of the kinds that are written at one blow."""
    readers: dict[str, Callable[[Path], Any]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".png": _pixels,
        ".safetensors": tensors,
        ".tar": _members,
    }
    broken = []
    for path in visible(out):
        try:
            if path.suffix in readers:
                readers[path.suffix](path)
        except Exception as error:
            broken.append(f"{path.name}: {error}")
    return broken


def _pixels(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def tensors(path: Path) -> str:
    told = hashlib.sha256()
    with safe_open(path, framework="pt") as file:
        for name in sorted(file.keys()):
            told.update(
                name.encode() + file.get_tensor(name).contiguous().flatten().view(torch.uint8).numpy().tobytes()
            )
    return told.hexdigest()


def left_in(out: Path) -> dict[str, str]:
    """A digest of what every file of `out` says, without hours and dates."""
    found = {}
    for path in visible(out):
        name = path.relative_to(out).as_posix()
        if path.name in (*VOLATILE, SPARE):
            found[name] = ""
        elif path.suffix == ".usearch":  # a search graph is built by chance, and its name tells of what
            found[path.suffix] = str(path.stat().st_size)
        elif path.suffix == ".safetensors":
            found[name] = tensors(path)
        elif path.name == "report.json":
            told = json.loads(path.read_text())
            found[name] = json.dumps([told["scores"], told["answers"]])
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
