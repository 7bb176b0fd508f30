"""Stored jobs and pictures, and all queries: functions for `Store.do`, which runs them in a transaction."""

from __future__ import annotations

import heapq
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

State = Literal["queued", "done", "failed", "cancelled"]
QUEUED: State = "queued"
DONE: State = "done"
FAILED: State = "failed"
CANCELLED: State = "cancelled"
MAX_JOBS_PER_REQUEST = 8  # a comparison has a job for each painter
CHUNK_ROWS = 256  # embeddings in memory at a time
INPUTS = ("image", "other", "mask")  # fields of a stored request that name its input pictures
FILES = "SELECT id AS name FROM pictures" + "".join(
    f" UNION ALL SELECT json_extract(request, '$.{one}') FROM jobs" for one in INPUTS
)


@dataclass(frozen=True)
class StoredPicture:
    """A picture of a finished job; its id is its file's name."""

    id: str
    place: int
    candidate: int
    seed: int
    score: float
    starred: int = 0
    vector: bytes | None = None
    clip: str | None = None  # the fingerprint of the CLIP that made the vector


@dataclass(frozen=True)
class Record:
    """A job as it is stored."""

    id: str
    owner: str
    created: float
    state: State
    request: dict[str, Any]
    tries: int = 0
    error: str | None = None
    ended: float | None = None
    starred: bool = False
    pictures: list[StoredPicture] = field(default_factory=list)


def add(found: Sequence[Record], key: str = "") -> Callable[[sqlite3.Connection], list[Record]]:
    """Insert jobs of one owner, all or none; or return the earlier ones of the same idempotency key."""

    def call(db: sqlite3.Connection) -> list[Record]:
        if key and (earlier := jobs_of_key(found[0].owner, key)(db)):
            return earlier
        db.executemany(
            "INSERT INTO jobs (id, owner, created, state, request, same) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (one.id, one.owner, one.created, one.state, json.dumps(one.request), _row_key(key, number))
                for number, one in enumerate(found)
            ],
        )
        return list(found)

    return call


def jobs_of_key(owner: str, key: str) -> Callable[[sqlite3.Connection], list[Record]]:
    """The jobs for which an owner used an idempotency key."""
    names = [_row_key(key, number) for number in range(MAX_JOBS_PER_REQUEST)]
    where = f"owner = ? AND same IN ({', '.join('?' * MAX_JOBS_PER_REQUEST)}) ORDER BY same"
    return lambda db: _read(db, where, (owner, *names))


def _row_key(key: str, number: int) -> str | None:
    return f"{key}/{number}" if key else None


def unfinished(db: sqlite3.Connection) -> list[Record]:
    """All jobs that have not ended, the oldest first."""
    return _read(db, "state = ? ORDER BY created", (QUEUED,))


def count_attempt(job: str) -> Callable[[sqlite3.Connection], int]:
    """Count that a process begins to compute a job; how many have, or 0 if the job has ended."""

    def call(db: sqlite3.Connection) -> int:
        query = "UPDATE jobs SET tries = tries + 1 WHERE id = ? AND state = ? RETURNING tries"
        found = db.execute(query, (job, QUEUED)).fetchone()
        return int(found[0]) if found else 0

    return call


def reset_attempts(db: sqlite3.Connection) -> None:
    """The process shuts down in order, so unfinished jobs are not suspected of having killed it."""
    db.execute("UPDATE jobs SET tries = 0 WHERE state = ?", (QUEUED,))


def finish(
    job: str, state: State, pictures: Iterable[StoredPicture] = (), error: str | None = None
) -> Callable[[sqlite3.Connection], bool]:
    """Store how a job ended; False if it had ended before."""

    def call(db: sqlite3.Connection) -> bool:
        query = "UPDATE jobs SET state = ?, ended = ?, error = ? WHERE id = ? AND state = ?"
        if db.execute(query, (state, time.time(), error, job, QUEUED)).rowcount == 0:
            return False
        names = ("id", "place", "candidate", "seed", "score", "vector", "clip")
        rows = [(job, *(getattr(one, name) for name in names)) for one in pictures]
        db.executemany(f"INSERT INTO pictures (job, {', '.join(names)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        return True

    return call


def one(owner: str, job: str) -> Callable[[sqlite3.Connection], Record | None]:
    """One job of an owner."""
    return lambda db: next(iter(_read(db, "owner = ? AND id = ?", (owner, job))), None)


def list_jobs(
    owner: str, before: float, limit: int, words: str = "", starred: bool = False
) -> Callable[[sqlite3.Connection], list[Record]]:
    """Jobs of an owner, the newest first; `words` must occur in the prompt."""
    where, values = "owner = ? AND created < ?", [owner, before]
    if words:
        where += " AND instr(casefold(json_extract(request, '$.prompt')), casefold(?)) > 0"
        values.append(words)
    if starred:
        where += " AND (starred OR EXISTS (SELECT 1 FROM pictures WHERE job = jobs.id AND pictures.starred))"
    return lambda db: _read(db, f"{where} ORDER BY created DESC LIMIT ?", (*values, limit))


def star(owner: str, job: str, yes: bool, picture: str | None = None) -> Callable[[sqlite3.Connection], bool]:
    """Star or unstar a job, or a picture of it; False if it does not exist."""

    def call(db: sqlite3.Connection) -> bool:
        own = "SELECT id FROM jobs WHERE owner = ? AND id = ?"
        if picture is None:
            return db.execute(f"UPDATE jobs SET starred = ? WHERE id IN ({own})", (yes, owner, job)).rowcount > 0
        query = f"UPDATE pictures SET starred = ? WHERE id = ? AND job IN ({own})"
        return db.execute(query, (yes, picture, owner, job)).rowcount > 0

    return call


def delete(owner: str, job: str) -> Callable[[sqlite3.Connection], list[str] | None]:
    """Delete a job that has ended; the pictures that nothing refers to any more, or None if there is no such job."""

    def call(db: sqlite3.Connection) -> list[str] | None:
        found = _read(db, "owner = ? AND id = ? AND state != ?", (owner, job, QUEUED))
        if not found:
            return None
        db.execute("DELETE FROM jobs WHERE id = ?", (job,))
        return unused_pictures({picture.id for picture in found[0].pictures} | input_pictures(found[0].request))(db)

    return call


def nearest(
    owner: str, clip: str, row: np.ndarray[tuple[int], np.dtype[np.float32]], top: int
) -> Callable[[sqlite3.Connection], list[tuple[str, str, float]]]:
    """(picture, job, cosine similarity) of an owner's pictures that are most similar to an embedding, best first.

    `clip`: the fingerprint of the CLIP that made it; embeddings of another one, also of equal width, are not compared.
    Embeddings are read in chunks, so that memory does not grow with the number of pictures.
    """
    query = """SELECT pictures.id, job, vector FROM pictures JOIN jobs ON jobs.id = job
               WHERE owner = ? AND clip = ?"""

    def call(db: sqlite3.Connection) -> list[tuple[str, str, float]]:
        best: list[tuple[str, str, float]] = []
        found = db.execute(query, (owner, clip))
        while some := found.fetchmany(CHUNK_ROWS):
            scores = np.stack([np.frombuffer(vector, "<f4") for _, _, vector in some]) @ row
            more = [(name, job, float(score)) for (name, job, _), score in zip(some, scores, strict=True)]
            best = heapq.nlargest(top, [*best, *more], key=lambda one: one[2])
        return best

    return call


def count_not_embedded(owner: str, clip: str) -> Callable[[sqlite3.Connection], int]:
    """How many pictures of an owner have no embedding of this CLIP, so that `nearest` does not find them."""
    query = "SELECT count(*) FROM pictures JOIN jobs ON jobs.id = job WHERE owner = ? AND clip IS NOT ?"
    return lambda db: int(db.execute(query, (owner, clip)).fetchone()[0])


def not_embedded(clip: str, after: str, limit: int) -> Callable[[sqlite3.Connection], list[str]]:
    """The names of pictures without an embedding of this CLIP, in order, from the one behind `after`."""
    query = "SELECT id FROM pictures WHERE clip IS NOT ? AND id > ? ORDER BY id LIMIT ?"
    return lambda db: [name for (name,) in db.execute(query, (clip, after, limit))]


def embed(clip: str, vectors: Mapping[str, bytes]) -> Callable[[sqlite3.Connection], None]:
    """Store embeddings of this CLIP, by picture, in place of others."""

    def call(db: sqlite3.Connection) -> None:
        rows = [(vector, clip, name) for name, vector in vectors.items()]
        db.executemany("UPDATE pictures SET vector = ?, clip = ? WHERE id = ?", rows)

    return call


def referenced_pictures(db: sqlite3.Connection) -> set[str]:
    """The names of all pictures that belong to a job, as its result or its input."""
    return {name for (name,) in db.execute(FILES) if name}


def input_pictures(request: dict[str, Any]) -> set[str]:
    """The names of a request's input pictures."""
    return {request[one] for one in INPUTS if request.get(one)}


def unused_pictures(names: Collection[str]) -> Callable[[sqlite3.Connection], list[str]]:
    """Those of the named pictures that belong to no job."""
    query = f"SELECT name FROM ({FILES}) WHERE name IN (SELECT value FROM json_each(?))"

    def call(db: sqlite3.Connection) -> list[str]:
        known = {name for (name,) in db.execute(query, (json.dumps(sorted(names)),))}
        return sorted(set(names) - known)

    return call


def owns_picture(owner: str, picture: str) -> Callable[[sqlite3.Connection], bool]:
    """Whether a picture is the result of a job of this owner."""
    query = "SELECT 1 FROM pictures JOIN jobs ON jobs.id = job WHERE owner = ? AND pictures.id = ?"
    return lambda db: db.execute(query, (owner, picture)).fetchone() is not None


def _read(db: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> list[Record]:
    columns = "id, owner, created, state, request, tries, error, ended, starred"
    found = db.execute(f"SELECT {columns} FROM jobs WHERE {where}", values).fetchall()
    return [_record(db, row) for row in found]


def _record(db: sqlite3.Connection, row: tuple[Any, ...]) -> Record:
    name, owner, created, state, request, tries, error, ended, starred = row
    query = "SELECT id, place, candidate, seed, score, starred FROM pictures WHERE job = ? ORDER BY place"
    pictures = [StoredPicture(*values) for values in db.execute(query, (name,))]
    about = json.loads(request)
    return Record(name, owner, created, state, about, tries, error, ended, bool(starred), pictures)
