"""Filling a `PictureIndex` from picture files, and finding pictures by a sentence or by another picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pinxit.data.problems import ItemError, Problems
from pinxit.recipes.clip.index import Hit, PictureIndex
from pinxit.recipes.clip.index_rows import Row

if TYPE_CHECKING:
    from pinxit.recipes.clip.encoder import ClipEncoder

CHUNK = 512  # pictures whose vectors are written together; a kill loses at most as many


def fill(
    index: PictureIndex,
    encoder: ClipEncoder,
    files: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
    chunk: int = CHUNK,
) -> Problems:
    """Encode those of `files` that are new or have changed; returns what could not be read.

    If killed, it resumes where it was. Raises UsageError when the index was made with another model, or while another
    command writes it.
    """
    index.check(encoder.name, encoder.fingerprint, encoder.activation)
    with index.writing():
        return _fill(index, encoder, files, progress, chunk)


def _fill(
    index: PictureIndex,
    encoder: ClipEncoder,
    files: Sequence[Path],
    progress: Callable[[int, int], None] | None,
    chunk: int,
) -> Problems:
    missing, problems = index.missing(files), Problems()
    for start in range(0, len(missing), chunk):
        rows, pictures = [], []
        for path in missing[start : start + chunk]:
            try:
                row = Row.of(path)
                pictures.append(encoder.read(path))
                rows.append(row)
            except ItemError as error:
                problems.add(error.key, error.reason)
            except OSError as error:
                problems.add(str(path), f"cannot be read ({error.strerror or error})")
        if rows:
            index.add(rows, encoder.pictures(pictures))
        if progress is not None:
            progress(min(start + chunk, len(missing)), len(missing))
    index.settle()
    return problems


def by_text(index: PictureIndex, encoder: ClipEncoder, text: str, top: int = 12) -> list[Hit]:
    """The pictures that match a sentence best."""
    index.check(encoder.name, encoder.fingerprint, encoder.activation)
    return index.search(encoder.texts([text])[0], top)


def by_picture(index: PictureIndex, encoder: ClipEncoder, path: Path, top: int = 12) -> list[Hit]:
    """The pictures most like the one in a file. Raises ItemError when it cannot be read."""
    index.check(encoder.name, encoder.fingerprint, encoder.activation)
    return index.search(encoder.pictures([encoder.read(path)])[0], top)
