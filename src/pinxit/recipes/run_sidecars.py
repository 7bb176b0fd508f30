"""The sidecars of a streaming run: one file a shard with what a frozen model computed from its pictures or captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinxit.data.sidecars import RowEncoder, encode_shards, encoded
from pinxit.data.streams import Stream, stored
from pinxit.recipes.staging import Run, showing
from pinxit.training.stop import Stop


def sidecar_folder(run: Run[Any], name: str) -> Path:
    """The folder of the sidecars: the one that `pinxit data encode` wrote, if the config names it, or the run's own."""
    given = run.config.data.sidecars
    return Path(given) if given else run.path(name)


def all_encoded(run: Run[Any], name: str, kind: str, pictures: str = "pictures") -> bool:
    """Whether every shard of the run's stream in the folder `pictures` has its sidecar."""
    place = run.path(pictures)
    return stored(place) and encoded(Stream.open(place).urls, kind, sidecar_folder(run, name))


def encode_missing(run: Run[Any], name: str, stream: Stream, encoder: RowEncoder, stop: Stop, label: str = "") -> None:
    """Write the missing sidecars of a stream's shards; `label` names the progress bar."""
    with showing(run, label or name, stop) as progress:
        encode_shards(stream.urls, encoder, sidecar_folder(run, name), progress, stream.shelf.folder)
