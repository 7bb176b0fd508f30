"""The picture files that a user names, directly or by a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pinxit.data.decode import SUFFIXES
from pinxit.data.problems import Problems
from pinxit.data.walk import directories
from pinxit.errors import UsageError
from pinxit.files import is_special


def picture_files(given: Sequence[Path]) -> list[Path]:
    """The files in `given`, and all picture files below its folders, sorted; each once, hidden ones left out.

    Links to folders elsewhere are followed; folders that cannot be listed, and named pipes and the like, are logged to
    the logger "pinxit". Raises UsageError for a path that does not exist, or when there is no picture at all.
    """
    files: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            files |= dict.fromkeys(sorted(_below(path)))
        elif path.exists():
            files[path] = None
        else:
            raise UsageError(f"there is no picture {path}.")
    if not files:
        raise UsageError(f"there are no pictures in {', '.join(map(str, given))}.")
    return list(files)


def _below(folder: Path) -> Iterator[Path]:
    problems = Problems()

    def unreadable(error: OSError) -> None:
        problems.add(error.filename, f"cannot be listed: {error.strerror}")

    for directory, names in directories(folder, unreadable):
        for path in (folder / directory / name for name in names if Path(name).suffix.lower() in SUFFIXES):
            if is_special(path):  # reading a pipe would wait for its writer
                problems.add(str(path), "is no plain file")
            else:
                yield path
    problems.log()
