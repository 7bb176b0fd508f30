"""Jobs that outlive the process: SQLite in a thread of its own, pictures beside it. What is told has been written.

A call waits until its change is on the disk; calls that come together share a commit.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, TypeVar

from pinxit.errors import PinxitError

T = TypeVar("T")
State = Literal["queued", "done", "failed", "cancelled"]
QUEUED: State = "queued"
DONE: State = "done"
FAILED: State = "failed"
CANCELLED: State = "cancelled"
VERSION = 1
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


@dataclass(frozen=True)
class Kept:
    """A picture of a finished job; its file is named by its id."""

    id: str
    place: int
    candidate: int
    seed: int
    score: float
    starred: int = 0
    vector: bytes | None = None


@dataclass(frozen=True)
class Record:
    """A job as it is written down."""

    id: str
    owner: str
    created: float
    state: State
    request: dict[str, Any]
    tries: int = 0
    error: str | None = None
    ended: float | None = None
    starred: bool = False
    pictures: list[Kept] = field(default_factory=list)


class Store:
    """Opened once a process; `close` when it ends."""

    def __init__(self, folder: Path, committed: Callable[[float], None] = lambda seconds: None) -> None:
        """Raises PinxitError where the folder cannot be used, or a newer pinxit wrote it."""
        self.folder, self.committed = folder / "pictures", committed
        self.calls: SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None] = SimpleQueue()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.base = sqlite3.connect(folder / "jobs.sqlite", isolation_level=None, check_same_thread=False)
            for said in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 5000"):
                self.base.execute(f"PRAGMA {said}")
            (version,) = self.base.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise PinxitError(f"{folder} was written by a newer pinxit: choose another folder with --data.")
            self.base.executescript(f"{SCHEMA}PRAGMA user_version = {VERSION};")
        except (OSError, sqlite3.Error) as error:
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


def add(record: Record, same: str | None = None) -> Callable[[sqlite3.Connection], Record]:
    """Write a job down; the earlier one where `same` was used before."""

    def call(base: sqlite3.Connection) -> Record:
        if same is not None:
            found = base.execute("SELECT id FROM jobs WHERE owner = ? AND same = ?", (record.owner, same)).fetchone()
            if found is not None:
                return _read(base, "id = ?", (found[0],))[0]
        base.execute(
            "INSERT INTO jobs (id, owner, created, state, request, same) VALUES (?, ?, ?, ?, ?, ?)",
            (record.id, record.owner, record.created, record.state, json.dumps(record.request), same),
        )
        return record

    return call


def unfinished(base: sqlite3.Connection) -> list[Record]:
    """All that are still to be done, the oldest first."""
    return _read(base, "state = ? ORDER BY created", (QUEUED,))


def begun(job: str) -> Callable[[sqlite3.Connection], int]:
    """It is about to be computed: how often it has been by now."""

    def call(base: sqlite3.Connection) -> int:
        query = "UPDATE jobs SET tries = tries + 1 WHERE id = ? AND state = ? RETURNING tries"
        found = base.execute(query, (job, QUEUED)).fetchone()
        return int(found[0]) if found else 0

    return call


def rested(base: sqlite3.Connection) -> None:
    """The process ends in order: nothing that was under way is to blame."""
    base.execute("UPDATE jobs SET tries = 0 WHERE state = ?", (QUEUED,))


def finish(
    job: str, state: State, pictures: Iterable[Kept] = (), error: str | None = None
) -> Callable[[sqlite3.Connection], bool]:
    """How it ended; False where it had ended before."""

    def call(base: sqlite3.Connection) -> bool:
        query = "UPDATE jobs SET state = ?, ended = ?, error = ? WHERE id = ? AND state = ?"
        if base.execute(query, (state, time.time(), error, job, QUEUED)).rowcount == 0:
            return False
        rows = [(one.id, job, one.place, one.candidate, one.seed, one.score, one.vector) for one in pictures]
        base.executemany(
            "INSERT INTO pictures (id, job, place, candidate, seed, score, vector) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
        )
        return True

    return call


def one(owner: str, job: str) -> Callable[[sqlite3.Connection], Record | None]:
    """A job of somebody's."""
    return lambda base: next(iter(_read(base, "owner = ? AND id = ?", (owner, job))), None)


def listed(
    owner: str, before: float, limit: int, words: str = "", starred: bool = False
) -> Callable[[sqlite3.Connection], list[Record]]:
    """Somebody's jobs, the newest first; `words`: in the prompt."""
    where, values = "owner = ? AND created < ?", [owner, before]
    if words:
        where += " AND instr(lower(json_extract(request, '$.prompt')), lower(?)) > 0"
        values.append(words)
    if starred:
        where += " AND (starred OR EXISTS (SELECT 1 FROM pictures WHERE job = jobs.id AND pictures.starred))"
    return lambda base: _read(base, f"{where} ORDER BY created DESC LIMIT ?", (*values, limit))


def star(owner: str, job: str, yes: bool, picture: str | None = None) -> Callable[[sqlite3.Connection], bool]:
    """Mark a job, or a picture of it; False where there is none."""

    def call(base: sqlite3.Connection) -> bool:
        mine = "SELECT id FROM jobs WHERE owner = ? AND id = ?"
        if picture is None:
            return base.execute(f"UPDATE jobs SET starred = ? WHERE id IN ({mine})", (yes, owner, job)).rowcount > 0
        query = f"UPDATE pictures SET starred = ? WHERE id = ? AND job IN ({mine})"
        return base.execute(query, (yes, picture, owner, job)).rowcount > 0

    return call


def forget(owner: str, job: str) -> Callable[[sqlite3.Connection], list[str] | None]:
    """Remove a job that has ended: the names of its pictures; None where there is none."""

    def call(base: sqlite3.Connection) -> list[str] | None:
        found = _read(base, "owner = ? AND id = ? AND state != ?", (owner, job, QUEUED))
        if not found:
            return None
        base.execute("DELETE FROM jobs WHERE id = ?", (job,))
        return [picture.id for picture in found[0].pictures]

    return call


def vectors(owner: str) -> Callable[[sqlite3.Connection], list[tuple[str, str, bytes]]]:
    """(picture, job, vector) of all of somebody's pictures."""
    query = """SELECT pictures.id, job, vector FROM pictures JOIN jobs ON jobs.id = job
               WHERE owner = ? AND vector IS NOT NULL"""
    return lambda base: base.execute(query, (owner,)).fetchall()


def known_files(base: sqlite3.Connection) -> set[str]:
    """The names of all pictures that some job has, or began from."""
    found = base.execute("SELECT id FROM pictures UNION SELECT json_extract(request, '$.image') FROM jobs "
                         "UNION SELECT json_extract(request, '$.mask') FROM jobs")  # fmt: skip
    return {name for (name,) in found if name}


def picture_of(owner: str, picture: str) -> Callable[[sqlite3.Connection], bool]:
    """Whether a picture is somebody's."""
    query = "SELECT 1 FROM pictures JOIN jobs ON jobs.id = job WHERE owner = ? AND pictures.id = ?"
    return lambda base: base.execute(query, (owner, picture)).fetchone() is not None


def _read(base: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> list[Record]:
    columns = "id, owner, created, state, request, tries, error, ended, starred"
    found = base.execute(f"SELECT {columns} FROM jobs WHERE {where}", values).fetchall()
    return [_record(base, row) for row in found]


def _record(base: sqlite3.Connection, row: tuple[Any, ...]) -> Record:
    name, owner, created, state, request, tries, error, ended, starred = row
    query = "SELECT id, place, candidate, seed, score, starred FROM pictures WHERE job = ? ORDER BY place"
    pictures = [Kept(*values) for values in base.execute(query, (name,))]
    about = json.loads(request)
    return Record(name, owner, created, state, about, tries, error, ended, bool(starred), pictures)


def sync_folder(folder: Path) -> None:
    """Let the names of new files outlive a loss of power, where the system can do that."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
