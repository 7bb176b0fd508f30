"""File locks: one writer at a time of a folder or a file, among processes and threads."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pinxit.errors import PinxitError, UsageError
from pinxit.files import LEFT, check_writable

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = ".lock"
WAIT = 0.1  # seconds between two attempts to take a lock
TRIES = 10  # attempts to make a lock file where there is none


@contextmanager
def file_lock(lock: Path, what: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `lock` during the block, against other processes and threads.

    `what` names the guarded thing in messages: "the report x.json". The lock of a killed process counts as free. While
    another holds it, this raises UsageError or, if `waiting` is given, calls that once and waits. Raises PinxitError
    where no such file can be made.
    """
    check_writable(lock.parent)
    fresh = [folder for folder in lock.parents if not folder.exists()]
    held = _held(lock, what, waiting)
    try:
        yield
    finally:
        with suppress(OSError):  # some systems keep a file that is open
            lock.unlink()
        held.release()
        with suppress(OSError):  # what was refused leaves no empty folders
            for folder in fresh:
                folder.rmdir()


@contextmanager
def folder_lock(folder: Path, what: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """`file_lock` for a folder, from which half-written files of killed commands are first removed."""
    with file_lock(folder / LOCK, what, waiting):
        remove_leftovers(folder.rglob(".*.part"))
        yield


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove those of `paths` that a killed process left half-written."""
    for path in paths:
        if LEFT.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _held(lock: Path, what: str, waiting: Callable[[], None] | None) -> BaseFileLock:
    from filelock import FileLock, Timeout

    said, tries = False, 0
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            held = FileLock(lock)
            held.acquire(timeout=0)
            return held
        except (Timeout, FileNotFoundError) as busy:
            tries = 0 if lock.exists() else tries + 1  # its owner has just left, or no file can be there
            if tries > TRIES:
                raise PinxitError(f"cannot write {lock}: no file can be made there.") from busy
            if not tries and waiting is None:
                raise UsageError(
                    f"another command writes {what}: try again when it is done, or choose another place."
                ) from busy
            if not tries and waiting is not None and not said:
                waiting()
                said = True
            time.sleep(WAIT)
        except OSError as error:
            raise PinxitError(f"cannot write {lock}: {error.strerror or error}.") from error
