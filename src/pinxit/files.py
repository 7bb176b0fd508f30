"""Atomic writes of files and folders (a reader sees the old content or the new, never half), and validated reads."""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import re
import shutil
import stat
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.schema import checked, plain_number
from pinxit.texts import lines_of, printable, without_halves

T = TypeVar("T")

LEFT = re.compile(r"\.(.+)\.\d+-\d+-\d+\.part")
"""Matches the names that `temporary_path` gives: what a killed process leaves behind; the group is what it wrote to."""
NO_FILE = "is no plain file"
_number = itertools.count()


def temporary_path(path: Path, ending: str = "part") -> Path:
    """A hidden name beside `path` that no other process or thread uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}-{next(_number)}.{ending}")


@contextmanager
def atomic_file(path: Path, before: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`, on failure removed.

    If `before` is given, the previous file is kept there; `path` exists at every moment. Raises PinxitError naming
    `path` when the disk is full or the place cannot be written, and for a device or a pipe, which a file would replace.
    """
    place = Path(os.path.realpath(path))  # a link to a file stays one
    temporary = temporary_path(place)
    try:
        if is_special(path):
            raise OSError(errno.EINVAL, f"it {NO_FILE}")
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode & 0o777  # as the umask says; some writers (tempfile) make theirs private
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(mode)
        if before is not None and place.exists():
            _keep(place, before)
        temporary.replace(place)
    except OSError as error:
        raise PinxitError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # whatever stopped the writing also stops this
            temporary.unlink(missing_ok=True)


def _keep(path: Path, before: Path) -> None:
    """Make `before` a copy of `path` (a hard link where possible), atomically."""
    older = temporary_path(before)
    try:
        try:
            os.link(path, older)
        except OSError:  # a file system without links
            shutil.copyfile(path, older)
        older.replace(before)
    finally:
        older.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raise PinxitError when `folder` cannot be made or written: called before the work whose results go there."""
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not there.exists():
        raise PinxitError(f"cannot write into {folder}: {there} is a link to what is not there; choose another place.")
    if not there.is_dir():
        raise PinxitError(f"cannot write into {folder}: {there} is a file; choose another place.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PinxitError(f"cannot write into {folder}: {there} is not yours to write in; choose another place.")


def check_empty(folder: Path) -> None:
    """Raise UsageError for a folder to export into that holds anything, PinxitError where there can be no folder."""
    check_writable(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: export into another folder.")


def check_file(*paths: Path | None) -> None:
    """Raise PinxitError for a path that no file can be written to, and for one that two are to be written to.

    Called before the work whose results go there.
    """
    places = [os.path.realpath(path) for path in paths if path is not None]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise UsageError(f"{twice} cannot hold two results: name a file for each.")
    for path in paths:
        if path is not None and path.is_dir():
            raise PinxitError(f"cannot write {path}: it is a folder; name a file in it.")
        if path is not None and is_special(path):
            raise PinxitError(f"cannot write {path}: it {NO_FILE}; name another.")
        if path is not None:
            check_writable(Path(os.path.realpath(path)).parent)


@contextmanager
def atomic_folder(path: Path, owned: Collection[str] = ()) -> Iterator[Path]:
    """Yield a new folder beside `path` that replaces it on success; at every moment the old or the new one is whole.

    Entries of the old folder that are not in `owned` may be the user's, and are moved into the new one. Raises
    PinxitError naming `path` when the disk is full or the place cannot be written.
    """
    place = Path(os.path.realpath(path))  # a link to a folder stays one
    temporary = temporary_path(place)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if place.is_dir():
            _exchange(temporary, place)
            for left in temporary.iterdir():
                if left.name not in owned and not (place / left.name).exists():
                    left.rename(place / left.name)
        else:
            temporary.rename(place)
    except OSError as error:
        raise PinxitError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(one: Path, other: Path) -> None:
    """Exchange two folders, atomically where the system can do that."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return
    aside = temporary_path(other, "old")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically as UTF-8."""
    write_bytes(path, without_halves(text).encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically as readable JSON."""
    write_text(path, to_json(value, indent=2) + "\n")


def to_json(value: Any, indent: int | None = None) -> str:
    """`value` as JSON whose characters stay readable; what is not UTF-8 in a file's name stands there as an escape.

    NumPy's numbers are numbers. Raises UsageError for what JSON cannot hold.
    """
    return without_halves(json.dumps(value, indent=indent, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    number = plain_number(value)
    if number is value:
        raise UsageError(f"JSON holds text, numbers, lists and dictionaries, not a {type(value).__name__}.")
    return number


def read_json(path: Path, kind: type[T], error: type[PinxitError] = DataError, advice: str = "") -> T:
    """What the JSON file `path` holds, a `kind`: a TypedDict, a list of numbers ...

    Raises `error` in one sentence when it cannot be read, is no JSON, or when a field is missing or of another type;
    `advice` says what to do then. Fields that `kind` does not have are kept.
    """
    try:
        data = path.read_bytes()
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror or reason}){_then(advice)}.") from reason
    return parse_json(data, kind, str(path), error, advice)


def parse_json(
    data: bytes | str, kind: type[T], where: str, error: type[PinxitError] = DataError, advice: str = ""
) -> T:
    """`read_json` of what has been read already; `where` names it."""
    try:
        value: T = json.loads(data)
    except (ValueError, RecursionError) as reason:
        raise error(f"{where} is not readable JSON ({reason}){_then(advice)}.") from reason
    try:
        checked(kind, value, "", error, advice)
    except error as cause:
        raise error(f"{where}: {cause}") from cause
    return value


def read_lines(path: Path, what: str, data: bytes | None = None) -> list[str]:
    """The non-empty lines of a user's UTF-8 text file; `what` names them in messages ("labels").

    `data`: the file's bytes, where they have been read already. Raises UsageError when the file cannot be read, is not
    UTF-8, holds a NUL character, or has no such line.
    """
    lines = lines_of(read_text(path, what, data))
    if not lines:
        raise UsageError(f"{printable(path)} holds no {what}: write one a line.")
    return lines


def read_text(path: Path, what: str, data: bytes | None = None) -> str:
    """The whole text of such a file, without a byte order mark. Raises UsageError as `read_lines` does."""
    try:
        text = (path.read_bytes() if data is None else data).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {what} from {printable(path)}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{printable(path)} is not UTF-8 (byte {error.start}): save it as UTF-8 text.") from error
    if "\0" in text:
        raise UsageError(f"{printable(path)} holds NUL characters, as UTF-16 does: save it as UTF-8 text.")
    return text


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError for what is none, such as a named pipe: opening it waits for a writer."""
    handle = open(path, "rb", opener=_at_once)  # noqa: SIM115
    if stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        return handle
    handle.close()
    raise OSError(errno.EINVAL, NO_FILE)


def user_path(text: str) -> Path:
    """The path that a user writes; ~ is their home, and ~name that of a user of this name, if there is one."""
    return Path(os.path.expanduser(text))  # noqa: PTH111  # Path.expanduser raises where there is none


def is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder: a named pipe, a socket, a device."""
    with suppress(OSError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _then(advice: str) -> str:
    return f"; {advice}" if advice else ""
