"""The processes that a process has started, and those that they have: for tests that kill one of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def below(parent: int) -> list[tuple[int, str]]:
    """Number and command line of each, those started first at the head."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            stat = (folder / "stat").read_text()
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(folder.name))
    found, left = [], [parent]
    while left:
        for child in sorted(parents.get(left.pop(0), [])):
            left.append(child)
            with suppress(OSError):
                words = (Path("/proc") / str(child) / "cmdline").read_bytes()
                found.append((child, words.replace(b"\0", b" ").decode(errors="replace")))
    return found
