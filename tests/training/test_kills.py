"""Fifty times kill -9, half of them inside a save: nothing is trained twice, nothing is lost, weights are the same."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pinxit.training import state as states
from pinxit.training.flops import matrix_rate
from pinxit.training.loop import fit
from tests.training.toy import Toy, plan

CHANGES = ("os.rename", "os.remove", "os.link", "os.chmod", "os.mkdir")
LEDGER = "ledger"
IMAGES = 8 * 60


class Noted(Toy):
    """Writes down every update that it has made, before anything is saved of it."""

    def __init__(self, ledger: Path, first: int) -> None:
        super().__init__(delay=0.0)
        self.ledger, self.images = ledger, first

    def after_step(self) -> None:
        super().after_step()
        with self.ledger.open("a") as handle:
            handle.write(f"{self.images}\n")
        self.images += 8


def child(work: Callable[[], Any]) -> int:
    """Do it in a process of its own; minus a signal that ended it."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            torch.set_num_threads(1)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def invocation(folder: Path, dice: random.Random, inside: bool | None, within: float = 0.6) -> int:
    """Train from where the folder stands; `inside`: be killed there in a save, or at some moment (None: not at all).

    That moment lies `within` so many seconds.
    """
    saved = states.read_progress(folder).images
    number, wait = dice.randrange(1, 60), dice.uniform(1e-3, within)

    def work() -> None:
        setattr(os, "fsync", lambda handle: None)  # noqa: B010  who is killed loses no page, and others use the disk
        with (folder / LEDGER).open("a") as handle:
            handle.write(f"begins {saved}\n")
        if inside is False:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # dies at once, as by SIGKILL
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
            signal.setitimer(signal.ITIMER_REAL, wait)
        elif inside:
            killed_inside_a_save(number)
        fit(Noted(folder / LEDGER, saved), plan(images=IMAGES, save_minutes=0.0), folder, "cpu", progress=False)

    folder.mkdir(parents=True, exist_ok=True)
    return child(work)


def killed_inside_a_save(number: int) -> None:
    """End this process at the `number`-th change of a file that a save makes."""
    saving, count, save = [False], [0], states.State.save

    def watched(self: states.State, *how: Any) -> None:
        saving[0] = True
        save(self, *how)
        saving[0] = False

    def seen(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and any(sign in arguments[1] for sign in "wax+")
        if saving[0] and (event in CHANGES or writes):
            count[0] += 1
            if count[0] >= number:
                os.kill(os.getpid(), signal.SIGKILL)

    setattr(states.State, "save", watched)  # noqa: B010  the class is somebody else's
    sys.addaudithook(seen)


def trained(ledger: Path) -> list[int]:
    """The updates that the last weights are made of: each invocation's up to where the next one began."""
    kept: list[int] = []
    for line in ledger.read_text().splitlines():
        if line.startswith("begins"):
            first = int(line.split()[1])
            assert first <= (kept[-1] + 8 if kept else 0), "an update was lost"
            kept = [one for one in kept if one < first]
        else:
            kept.append(int(line))
    return kept


def check(folder: Path, kills: int) -> None:
    import torch._dynamo  # by torch's optimisers; and the rate: each child would else be killed in either

    matrix_rate(torch.float32, "cpu")
    dice = random.Random(0)
    begun = time.monotonic()
    assert invocation(folder / "straight", dice, None) == 0
    lasts = time.monotonic() - begun
    done = {True: 0, False: 0}
    for turn in range(20 * kills):
        inside = turn % 2 == 0
        ended = invocation(folder / "killed", dice, inside, lasts)
        done[inside] += ended in (-signal.SIGKILL, -signal.SIGALRM)
        if min(done.values()) >= kills // 2:
            break
        if states.read_progress(folder / "killed").images >= IMAGES:  # begin anew where all is trained
            finish(folder)
    finish(folder)
    assert done[True] >= kills // 2 and done[False] >= kills // 2


def finish(folder: Path) -> None:
    """Let the killed run end, compare it with the straight one, and make room for another."""
    assert invocation(folder / "killed", random.Random(1), None) == 0
    assert trained(folder / "killed" / LEDGER) == list(range(0, IMAGES, 8))
    one, other = (load_file(folder / name / states.FILE) for name in ("straight", "killed"))
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    (folder / "killed").rename(folder / f"done-{time.monotonic_ns()}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_four_kills(tmp_path: Path) -> None:
    check(tmp_path, 4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_fifty_kills(tmp_path: Path) -> None:
    check(tmp_path, 50)
