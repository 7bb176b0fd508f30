"""Jobs that outlive the process: SQLite in a thread of its own, pictures beside it. What is told has been written.

A call waits until its change is on the disk; calls that come together share a commit.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pinxit.errors import PinxitError

T = TypeVar("T")
VERSION = 1
WAIT = 5.0  # seconds for a server that is about to end to let go of the folder
SETTINGS = (
    # One process owns the folder: a second one would paint its jobs again and remove pictures it still writes.
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    # KiB of pages kept. By default 2 MB, which fill up over the hours as jobs gather and look like a leak.
    "cache_size = -256",
)
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, ended REAL, state TEXT NOT NULL,
    request TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, error TEXT, starred INTEGER NOT NULL DEFAULT 0,
    same TEXT, UNIQUE (owner, same));
CREATE INDEX IF NOT EXISTS jobs_of ON jobs (owner, created);
CREATE TABLE IF NOT EXISTS pictures (
    id TEXT PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, place INTEGER NOT NULL,
    candidate INTEGER NOT NULL, seed INTEGER NOT NULL, score REAL NOT NULL, vector BLOB,
    starred INTEGER NOT NULL DEFAULT 0, UNIQUE (job, place));
"""


class Store:
    """Opened once a process; `close` when it ends."""

    def __init__(self, folder: Path, committed: Callable[[float], None] = lambda seconds: None) -> None:
        """Raises PinxitError where the folder cannot be used, is another server's, or a newer pinxit wrote it."""
        self.folder, self.committed = folder / "pictures", committed
        self.calls: SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None] = SimpleQueue()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.base = sqlite3.connect(
                folder / "jobs.sqlite", timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            for said in SETTINGS:
                self.base.execute(f"PRAGMA {said}")
            (version,) = self.base.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise PinxitError(f"{folder} was written by a newer pinxit: choose another folder with --data.")
            self.base.executescript(f"{SCHEMA}PRAGMA user_version = {VERSION};")
        except (OSError, sqlite3.Error) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                told = "another server keeps its jobs there; choose another folder with --data"
                raise PinxitError(f"cannot keep jobs in {folder}: {told}.") from error
            raise PinxitError(f"cannot keep jobs in {folder}: {error}.") from error
        self.thread = threading.Thread(target=self._work, name="pinxit-store", daemon=True)
        self.thread.start()

    async def do(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """What it gives, once it is committed."""
        future: Future[T] = Future()
        self.calls.put((call, future))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what was asked."""
        self.calls.put(None)
        self.thread.join(10)
        self.base.close()

    def file(self, name: str) -> Path:
        """Where a picture is kept."""
        return self.folder / f"{name}.png"

    def remove(self, names: Iterable[str]) -> None:
        """Let go of pictures. It waits for the disk: not for the event loop's thread."""
        for name in names:
            self.file(name).unlink(missing_ok=True)

    def _work(self) -> None:
        while True:
            asked = self.calls.get()
            if asked is None:
                return
            group = [asked]
            try:
                while (more := self.calls.get_nowait()) is not None:
                    group.append(more)
            except Empty:
                more = group[-1]
            self._commit(group)
            if more is None:
                return

    def _commit(self, group: Sequence[tuple[Callable[[sqlite3.Connection], Any], Future[Any]]]) -> None:
        began = time.perf_counter()
        group = [one for one in group if one[1].set_running_or_notify_cancel()]  # whoever asked may have left
        try:
            answers = self._together([call for call, _ in group])
        except sqlite3.Error as error:  # the disk is full, or gone: nobody is told what was not kept
            with suppress(sqlite3.Error):
                self.base.execute("ROLLBACK")
            answers = [(None, PinxitError(f"jobs cannot be kept: {error}."))] * len(group)
        self.committed(time.perf_counter() - began)
        for (_, future), (value, wrong) in zip(group, answers, strict=True):
            if wrong is None:
                future.set_result(value)
            else:
                future.set_exception(wrong)

    def _together(self, calls: Sequence[Callable[[sqlite3.Connection], Any]]) -> list[tuple[Any, Exception | None]]:
        """What each gives, or its own error, in one transaction."""
        answers: list[tuple[Any, Exception | None]] = []
        self.base.execute("BEGIN IMMEDIATE")
        for call in calls:
            self.base.execute("SAVEPOINT one")
            try:
                answers.append((call(self.base), None))
            except Exception as error:
                self.base.execute("ROLLBACK TO one")
                answers.append((None, error))
            self.base.execute("RELEASE one")
        self.base.execute("COMMIT")
        return answers


def sync_folder(folder: Path) -> None:
    """Let the names of new files outlive a loss of power, where the system can do that."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
