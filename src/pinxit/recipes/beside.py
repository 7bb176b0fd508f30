"""What frozen models say of a stream's shards, in files beside them: where a run keeps it, and how it has it said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinxit.data.sidecars import RowEncoder, encode_shards, encoded
from pinxit.data.streams import Stream, stored
from pinxit.recipes.staging import Run, showing
from pinxit.training.stop import Stop


def folder_of(run: Run[Any], name: str) -> Path:
    """Where sidecars lie: those of `pinxit data encode`, or the run's own."""
    given = run.config.data.sidecars
    return Path(given) if given else run.path(name)


def said(run: Run[Any], name: str, kind: str) -> bool:
    """Whether every shard of the run's stream has its sidecar."""
    return stored(run.path("pictures")) and encoded(Stream.open(run.path("pictures")).urls, kind, folder_of(run, name))


def have_said(run: Run[Any], name: str, stream: Stream, encoder: RowEncoder, stop: Stop, label: str = "") -> None:
    """Let `encoder` say what it says of a stream's shards, of those of which nobody has yet."""
    with showing(run, label or name, stop) as progress:
        encode_shards(stream.urls, encoder, folder_of(run, name), progress, stream.shelf.folder)
