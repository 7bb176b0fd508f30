"""Tar shards, local or remote: those of a remote URL (any that fsspec knows) are copied whole into a local cache."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from filelock import FileLock

from pinxit.data.prefetch_threads import PrefetchThreads
from pinxit.data.sources import TARS, expand_braces, expand_pattern
from pinxit.errors import DataError, PinxitError
from pinxit.files import atomic_file, temporary_path, user_path

TRIES, PATIENCE = 6, 1.0  # tries of a fetch; seconds to wait after the first failure, doubled after each further one
GONE = (FileNotFoundError, PermissionError, IsADirectoryError)  # errors for which another try is useless
SPARE = 2e9  # bytes of the disk that copies leave free for others, such as the run that reads them
LEASE = 600.0  # seconds for which a copy that is expected counts as more recently used than all that are not
log = logging.getLogger("pinxit")

T = TypeVar("T")


def shards_of(spec: str) -> list[str]:
    """The tars that `spec` names: a path, a folder, a pattern, or a URL of one of these. Raises DataError if none.

    URLs are those of fsspec, such as s3://bucket/data/{00000..00999}.tar or gs://bucket/data. Folders and patterns are
    listed in sorted order.
    """
    if "://" not in spec:
        folder = user_path(spec)
        inside = sorted(folder.glob(TARS)) if os.path.isdir(folder) else expand_pattern(spec)  # noqa: PTH112
        found = list(map(str, inside))
    else:
        found = _remote(spec)
    if not found:
        raise DataError(f"{spec} names no tar.")
    return found


def _remote(spec: str) -> list[str]:
    import fsspec

    found: list[str] = []
    try:
        for url in expand_braces(spec):
            system, path = fsspec.core.url_to_fs(url)
            scheme = url.partition("://")[0]
            named = url.endswith(".tar") and "*" not in url
            inside = [path] if named else with_retries(url, partial(_glob, system, path))
            found += [url] if inside == [path] else [f"{scheme}://{one.lstrip('/')}" for one in sorted(inside)]
    except (ImportError, ValueError) as error:
        raise DataError(f"{spec} cannot be read: {error}.") from error
    return found


def _glob(system: Any, path: str) -> list[str]:
    return [str(one) for one in system.glob(path if "*" in path else f"{path.rstrip('/')}/*.tar")]


@dataclass(eq=False)
class ShardCache:
    """A cache of remote shards in a folder; the least recently used copies are deleted to make room.

    A copy's time of use is that of its file, so that all processes that share the folder know it. That of an expected
    copy is LEASE seconds in the future: what is not expected goes first, and what was expected last goes last.
    """

    folder: Path
    room: float = 100e9  # bytes that copies may take
    _until: dict[str, float] = field(default_factory=dict, repr=False)  # when the leases of expected shards end
    _space: float | None = field(default=None, repr=False)
    _warned: bool = field(default=False, repr=False)  # that there is too little
    _lock: Lock = field(default_factory=Lock, repr=False)
    _ahead: PrefetchThreads = field(default_factory=PrefetchThreads, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:  # locks and threads stay in their process
        return ShardCache, (self.folder, self.room)

    @property
    def space(self) -> float:
        """Bytes that copies may take, as of the last fetch: `room`, or less where the disk is fuller."""
        if self._space is None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._copies()
            except OSError:  # which `path` raises
                return 0.0
        assert self._space is not None
        return self._space

    def path(self, url: str) -> Path:
        """The local file of a shard, which is fetched if it is remote and not in the cache.

        Raises DataError if there is no such shard, PinxitError if it cannot be fetched or written.
        """
        if "://" not in url:
            return Path(url)
        place = self.folder / _name(url)
        if self.holds(url):
            return place
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(place.with_suffix(".lock")):  # other processes of this machine may want it too
                if not self.holds(url):
                    self._fetch(url, place)
                    self._make_room(place)
        except OSError as error:
            raise PinxitError(f"cannot write {place}: {error.strerror or error}.") from error
        return place

    def holds(self, url: str) -> bool:
        """Whether the file of a shard is there; marks a copy as just used or expected, so that it is deleted last."""
        if "://" not in url:
            return Path(url).is_file()
        place, used = self.folder / _name(url), self._used(url)
        try:
            if place.stat().st_mtime < used:
                os.utime(place, (used, used))
        except FileNotFoundError:
            return False
        except OSError:  # another user's file, whose time we may not change
            return place.is_file()
        return True

    def prefetch(self, url: str) -> None:
        """Start to fetch a shard that will be needed soon, in the background; `path` raises what fails here.

        For as long as it is expected anew its copy stays, unless all that are expected exceed `space`.
        """
        if "://" in url:
            self._until[url] = time.time() + LEASE
            if not self.holds(url):
                self._ahead.begin(url, self.path)

    def warn_of_more(self, needed: float) -> None:
        """Log, once, that the shards read at a time take `needed` bytes, more than `space`, and what can be done."""
        if self._warned:
            return
        self._warned = True
        what = f"{self.folder} has room for {self.space / 1e9:.3g} GB of the shards that are read at a time, which are"
        remedy = "free more of its disk, or link it to a larger one" if self.space < self.room else "use smaller shards"
        log.warning("%s %.3g GB: the others are fetched several times an epoch; %s.", what, needed / 1e9, remedy)

    def _fetch(self, url: str, place: Path) -> None:
        """Fetch a shard to `place`, marked from the moment that it is there: others may be making room just then."""
        arrived = temporary_path(place)  # what a kill leaves under such a name is removed when the run goes on
        fetch(url, arrived)
        used = self._used(url)
        os.utime(arrived, (used, used))
        arrived.replace(place)

    def _used(self, url: str) -> float:
        """The time of use of a shard that is used now, or expected."""
        return max(time.time(), self._until.get(url, 0.0))

    def _make_room(self, newest: Path) -> None:
        with self._lock:
            copies = self._copies()
            over = sum(size for _, size, _ in copies) - self.space
            for _, size, path in sorted(copies):
                if over <= 0:
                    break
                if path != newest:
                    path.unlink(missing_ok=True)  # a process that has it open can still read it
                    over -= size

    def _copies(self) -> list[tuple[float, int, Path]]:
        """The time of use, bytes and file of each copy; also notes how much space there is."""
        copies = []
        for path in self.folder.glob("*.tar"):
            with suppress(OSError):
                about = path.stat()
                copies.append((about.st_mtime, about.st_size, path))
        free = shutil.disk_usage(self.folder).free
        self._space = min(self.room, sum(size for _, size, _ in copies) + free - SPARE)
        return copies


def fetch(url: str, place: Path) -> None:
    """Copy a remote file to `place`, as a whole or not at all. Raises as `with_retries` does."""
    import fsspec

    def copy() -> None:
        with atomic_file(place) as temporary, fsspec.open(url, "rb") as theirs, temporary.open("wb") as ours:
            shutil.copyfileobj(theirs, ours, 2**20)

    with_retries(url, copy)


def with_retries(url: str, ask: Callable[[], T]) -> T:
    """Call `ask`, which reads something at `url`, and retry with growing pauses while it fails; returns its result.

    Raises DataError if there is nothing at `url` or it cannot be read at all, PinxitError when all TRIES have failed,
    OSError if the local disk is full.
    """
    for turn in range(TRIES):
        try:
            return ask()
        except Exception as error:  # every store has errors of its own
            cause = error.__cause__ or error
            if isinstance(cause, GONE):
                raise DataError(f"there is no shard {url}: restore it, or train into another folder.") from error
            if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
                raise
            if isinstance(cause, (ImportError, ValueError)):
                raise DataError(f"{url} cannot be read: {cause}.") from error
            reason = " ".join(str(cause).split())[:120]
            if turn + 1 == TRIES:
                failure = f"{url} cannot be fetched, after {TRIES} tries ({reason})"
                raise PinxitError(f"{failure}; the same command goes on from the last save.") from error
            log.warning("%s: %s; trying again", url, reason)
            time.sleep(PATIENCE * 2**turn)
    raise AssertionError("the last try has ended")


def _name(url: str) -> str:
    """A unique file name for a URL."""
    return f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{url.rpartition('/')[2]}"
