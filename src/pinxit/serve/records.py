"""What is written down of jobs and their pictures, and every question that is asked of it: calls for `Store.do`."""

from __future__ import annotations

import heapq
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

State = Literal["queued", "done", "failed", "cancelled"]
QUEUED: State = "queued"
DONE: State = "done"
FAILED: State = "failed"
CANCELLED: State = "cancelled"
TOGETHER = 8  # jobs at most that one request asks for
READ = 256  # vectors in memory at a time
SENT = ("image", "other", "mask")  # of a request: names of pictures that its jobs begin from
FILES = "SELECT id AS name FROM pictures" + "".join(
    f" UNION ALL SELECT json_extract(request, '$.{one}') FROM jobs" for one in SENT
)


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


def add(found: Sequence[Record], same: str = "") -> Callable[[sqlite3.Connection], list[Record]]:
    """Write jobs of somebody's down, all or none; the earlier ones where `same` was used before."""

    def call(base: sqlite3.Connection) -> list[Record]:
        if same and (earlier := known(found[0].owner, same)(base)):
            return earlier
        base.executemany(
            "INSERT INTO jobs (id, owner, created, state, request, same) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (one.id, one.owner, one.created, one.state, json.dumps(one.request), _same(same, number))
                for number, one in enumerate(found)
            ],
        )
        return list(found)

    return call


def known(owner: str, same: str) -> Callable[[sqlite3.Connection], list[Record]]:
    """The jobs for which somebody used `same`."""
    names = [_same(same, number) for number in range(TOGETHER)]
    where = f"owner = ? AND same IN ({', '.join('?' * TOGETHER)}) ORDER BY same"
    return lambda base: _read(base, where, (owner, *names))


def _same(same: str, number: int) -> str | None:
    return f"{same}/{number}" if same else None


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
    """Remove a job that has ended: the files that are nobody's now; None where there is none."""

    def call(base: sqlite3.Connection) -> list[str] | None:
        found = _read(base, "owner = ? AND id = ? AND state != ?", (owner, job, QUEUED))
        if not found:
            return None
        base.execute("DELETE FROM jobs WHERE id = ?", (job,))
        return unused({picture.id for picture in found[0].pictures} | sent(found[0].request))(base)

    return call


def nearest(
    owner: str, row: np.ndarray[tuple[int], np.dtype[np.float32]], top: int
) -> Callable[[sqlite3.Connection], list[tuple[str, str, float]]]:
    """(picture, job, likeness) of those of somebody's pictures that are most like a vector, best first.

    They are read a few at a time: all at once they would take more memory with every picture that is kept.
    """
    query = """SELECT pictures.id, job, vector FROM pictures JOIN jobs ON jobs.id = job
               WHERE owner = ? AND length(vector) = ?"""

    def call(base: sqlite3.Connection) -> list[tuple[str, str, float]]:
        best: list[tuple[str, str, float]] = []
        found = base.execute(query, (owner, 4 * len(row)))
        while some := found.fetchmany(READ):
            scores = np.stack([np.frombuffer(vector, "<f4") for _, _, vector in some]) @ row
            more = [(name, job, float(score)) for (name, job, _), score in zip(some, scores, strict=True)]
            best = heapq.nlargest(top, [*best, *more], key=lambda one: one[2])
        return best

    return call


def known_files(base: sqlite3.Connection) -> set[str]:
    """The names of all pictures that some job has, or began from."""
    return {name for (name,) in base.execute(FILES) if name}


def sent(request: dict[str, Any]) -> set[str]:
    """The names of the pictures that a request's job begins from."""
    return {request[one] for one in SENT if request.get(one)}


def unused(names: Collection[str]) -> Callable[[sqlite3.Connection], list[str]]:
    """Those of the names of pictures that no job has, nor began from."""
    query = f"SELECT name FROM ({FILES}) WHERE name IN (SELECT value FROM json_each(?))"

    def call(base: sqlite3.Connection) -> list[str]:
        known = {name for (name,) in base.execute(query, (json.dumps(sorted(names)),))}
        return sorted(set(names) - known)

    return call


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
