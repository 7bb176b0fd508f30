"""The folders below a user's folder, those behind symbolic links too, each once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

Unreadable = Callable[[OSError], None]


def directories(folder: Path, unreadable: Unreadable) -> Iterator[tuple[str, list[str]]]:
    """(path relative to `folder`, sorted names of its files) of `folder` and every visible directory below, sorted.

    A link to a directory outside is followed, or to a hidden one; another one to `folder` itself or into it is not, as
    what it shows is there already. `unreadable` is told of directories that cannot be listed.
    """
    own = os.path.realpath(folder)
    known = {own}
    for place, below, names in os.walk(folder, onerror=unreadable, followlinks=True):
        visible = sorted(name for name in below if not name.startswith("."))
        below[:] = [name for name in visible if _new(Path(place, name), own, known)]
        relative = os.path.relpath(place, folder)
        yield "" if relative == "." else relative, sorted(name for name in names if not name.startswith("."))


def _new(place: Path, own: str, known: set[str]) -> bool:
    """Whether a directory is to be walked; enters it into `known`, by which a circle of links ends."""
    real = os.path.realpath(place)
    if real in known or (place.is_symlink() and _walked(Path(real), own)):
        return False
    known.add(real)
    return True


def _walked(real: Path, own: str) -> bool:
    """Whether the walk of `own` comes to this directory by its own path."""
    return real.is_relative_to(own) and not any(part.startswith(".") for part in real.relative_to(own).parts)
