"""Durable storage of jobs: SQLite in a thread of its own, pictures in a folder beside it.

A call returns once its transaction is on disk; calls that arrive together share a transaction.
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
LOCK_SECONDS = 5.0  # to wait for another server that is shutting down
SETTINGS = (
    # One process owns the folder: a second one would run its jobs again and delete pictures that it is writing.
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    # KiB of page cache. The default of 2 MB fills up over hours and looks like a memory leak.
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
    starred INTEGER NOT NULL DEFAULT 0, clip TEXT, UNIQUE (job, place));
"""


class Store:
    """Opened once by a process; `close` it at the end."""

    on_commit: Callable[[float], None] = staticmethod(lambda seconds: None)  # given the seconds of every commit

    def __init__(self, folder: Path) -> None:
        """Raises PinxitError if the folder cannot be used, is in use by another server, or is of a newer pinxit."""
        self.folder = folder / "pictures"
        self.calls: SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None] = SimpleQueue()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(
                folder / "jobs.sqlite", timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            self.db.create_function("casefold", 1, str.casefold, deterministic=True)  # SQLite's lower() is for ASCII
            for pragma in SETTINGS:
                self.db.execute(f"PRAGMA {pragma}")
            (version,) = self.db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise PinxitError(f"{folder} was written by a newer pinxit: choose another folder with --data.")
            self.db.executescript(f"{SCHEMA}PRAGMA user_version = {VERSION};")
            if "clip" not in {column for _, column, *_ in self.db.execute("PRAGMA table_info(pictures)")}:
                self.db.execute("ALTER TABLE pictures ADD COLUMN clip TEXT")  # earlier versions do without it
        except (OSError, sqlite3.Error) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                problem = "another server uses it; choose another folder with --data"
                raise PinxitError(f"cannot store jobs in {folder}: {problem}.") from error
            raise PinxitError(f"cannot store jobs in {folder}: {error}.") from error
        self.thread = threading.Thread(target=self._work, name="pinxit-store", daemon=True)
        self.thread.start()

    async def do(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run `call` in the store's thread; its result, once the transaction is committed.

        Raises what `call` raises, and PinxitError for whatever SQLite raises: nothing of the call is stored then.
        """
        return await asyncio.wrap_future(self.submit(call))

    def submit(self, call: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """What `do` waits for; for other threads than the event loop's."""
        future: Future[T] = Future()
        self.calls.put((call, future))
        return future

    def close(self) -> None:
        """Finish pending calls and close the database."""
        self.calls.put(None)
        self.thread.join(10)
        self.db.close()

    def file(self, name: str) -> Path:
        """The file of a picture."""
        return self.folder / f"{name}.png"

    def remove(self, names: Iterable[str]) -> None:
        """Delete pictures. Blocks on the disk: call it in a thread."""
        for name in names:
            self.file(name).unlink(missing_ok=True)

    def _work(self) -> None:
        while True:
            asked = self.calls.get()
            if asked is None:
                return
            batch = [asked]
            try:
                while (more := self.calls.get_nowait()) is not None:
                    batch.append(more)
            except Empty:
                more = batch[-1]
            self._commit(batch)
            if more is None:
                return

    def _commit(self, batch: Sequence[tuple[Callable[[sqlite3.Connection], Any], Future[Any]]]) -> None:
        began = time.perf_counter()
        batch = [one for one in batch if one[1].set_running_or_notify_cancel()]  # the caller may have been cancelled
        try:
            results = self._run_batch([call for call, _ in batch])
        except sqlite3.Error as error:  # such as a full disk: nothing was stored
            with suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
            results = [(None, _refusal(error))] * len(batch)
        self.on_commit(time.perf_counter() - began)
        for (_, future), (value, wrong) in zip(batch, results, strict=True):
            if wrong is None:
                future.set_result(value)
            else:
                future.set_exception(wrong)

    def _run_batch(self, calls: Sequence[Callable[[sqlite3.Connection], Any]]) -> list[tuple[Any, Exception | None]]:
        """The result or the exception of each call, in one transaction."""
        results: list[tuple[Any, Exception | None]] = []
        self.db.execute("BEGIN IMMEDIATE")
        for call in calls:
            self.db.execute("SAVEPOINT one")
            try:
                results.append((call(self.db), None))
            except Exception as error:
                self.db.execute("ROLLBACK TO one")
                results.append((None, _refusal(error) if isinstance(error, sqlite3.Error) else error))
            self.db.execute("RELEASE one")
        self.db.execute("COMMIT")
        return results


def _refusal(error: sqlite3.Error) -> PinxitError:
    return PinxitError(f"jobs cannot be stored: {error}.")


def sync_folder(folder: Path) -> None:
    """Make new files durable against a loss of power, where the system supports it."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
