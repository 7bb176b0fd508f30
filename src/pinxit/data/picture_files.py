"""The picture files that a user names, directly or by a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pinxit.data.decode import SUFFIXES
from pinxit.errors import UsageError


def picture_files(given: Sequence[Path]) -> list[Path]:
    """The files in `given`, and all picture files below its folders, sorted; each once, hidden ones left out.

    Raises UsageError for a path that does not exist, or when there is no picture at all.
    """
    files: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            below = sorted(path.rglob("*"))
            files |= dict.fromkeys(p for p in below if p.suffix.lower() in SUFFIXES and not _hidden(p, path))
        elif path.exists():
            files[path] = None
        else:
            raise UsageError(f"there is no picture {path}.")
    if not files:
        raise UsageError(f"there are no pictures in {', '.join(map(str, given))}.")
    return list(files)


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
