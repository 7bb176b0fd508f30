"""The sidecars of a run that streams: what frozen models compute of each shard, one file a shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinxit.data.sidecars import RowEncoder, encode_shards, encoded
from pinxit.data.streams import Stream, stored
from pinxit.recipes.staging import Run, showing
from pinxit.training.stop import Stop


def sidecar_folder(run: Run[Any], name: str) -> Path:
    """Where sidecars lie: those of `pinxit data encode`, or the run's own."""
    given = run.config.data.sidecars
    return Path(given) if given else run.path(name)


def all_encoded(run: Run[Any], name: str, kind: str) -> bool:
    """Whether every shard of the run's stream has its sidecar."""
    return stored(run.path("pictures")) and encoded(
        Stream.open(run.path("pictures")).urls, kind, sidecar_folder(run, name)
    )


def encode_missing(run: Run[Any], name: str, stream: Stream, encoder: RowEncoder, stop: Stop, label: str = "") -> None:
    """Write the sidecars that are missing, of every shard of a stream."""
    with showing(run, label or name, stop) as progress:
        encode_shards(stream.urls, encoder, sidecar_folder(run, name), progress, stream.shelf.folder)
