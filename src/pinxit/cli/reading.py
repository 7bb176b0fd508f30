"""Reading the user's pictures for a CLIP, with a bar; broken ones are named on stderr and skipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.types import Picture

CHUNK = 256  # pictures read together


def read_in_parts(
    encoder: ClipEncoder, files: Sequence[Path], label: str
) -> Iterator[tuple[list[Path], list[Picture]]]:
    """The files that can be read, some hundred at a time, with their pictures at the encoder's size."""
    from rich.console import Console
    from rich.progress import track

    from pinxit.data.problems import ItemError

    starts = range(0, len(files), CHUNK)
    for start in track(starts, label, console=Console(stderr=True), transient=True, disable=len(files) < CHUNK):
        paths, pictures = [], []
        for path in files[start : start + CHUNK]:
            try:
                pictures.append(encoder.read(path))
                paths.append(path)
            except ItemError as error:
                typer.echo(f"skipped: {error}", err=True)
        if paths:
            yield paths, pictures
