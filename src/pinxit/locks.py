"""One writer at a time of a folder or a file, among processes and threads."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pinxit.errors import PinxitError, UsageError
from pinxit.files import LEFT, check_writable

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = ".lock"
WAIT = 0.1  # seconds between two looks whether a lock is free


@contextmanager
def alone(lock: Path, what: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Inside the block nobody else, process or thread, holds `lock`, a file; `what` it guards: "the report x.json".

    The lock of a process that was killed is none. While somebody holds it this raises UsageError or, after one call of
    `waiting`, waits. Raises PinxitError where no such file can be.
    """
    check_writable(lock.parent)
    fresh = not lock.parent.exists()
    held = _held(lock, what, waiting)
    try:
        yield
    finally:
        with suppress(OSError):  # some systems keep a file that is open
            lock.unlink()
        held.release()
        if fresh:
            with suppress(OSError):  # what was refused leaves no empty folder
                lock.parent.rmdir()


@contextmanager
def alone_in(folder: Path, what: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """`alone` in a folder, from which it first takes what killed commands have left half-written."""
    with alone(folder / LOCK, what, waiting):
        for path in folder.rglob(".*.part"):
            if LEFT.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        yield


def _held(lock: Path, what: str, waiting: Callable[[], None] | None) -> BaseFileLock:
    from filelock import FileLock, Timeout

    said = False
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            held = FileLock(lock)
            held.acquire(timeout=0)
            return held
        except Timeout as busy:
            if waiting is None:
                raise UsageError(
                    f"another command writes {what}: try again when it is done, or choose another place."
                ) from busy
            if not said:
                waiting()
            said = True
            time.sleep(WAIT)
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or lock.parent.exists():  # else its owner left it empty
                raise PinxitError(f"cannot write {lock}: {error.strerror or error}.") from error
