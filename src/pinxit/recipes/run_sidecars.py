"""The sidecars of a streaming run: one file a shard with what a frozen model computed from its pictures or captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinxit.data.sidecars import RowEncoder, encode_shards, is_complete
from pinxit.data.streams import Stream, has_pictures
from pinxit.errors import UsageError
from pinxit.recipes.staging import Run, progress_callback
from pinxit.training.stop import Stop


def sidecar_folder(run: Run[Any], name: str) -> Path:
    """The folder of the sidecars: the one that `pinxit data encode` wrote, if the config names it, or the run's own."""
    given = run.config.data.sidecars
    return Path(given) if given else run.path(name)


def check_sidecars(run: Run[Any]) -> None:
    """Raise UsageError for a folder of sidecars that is neither there nor in the run's own folder."""
    if not (given := getattr(run.config.data, "sidecars", "")):
        return
    if not run.config.data.stream:
        if run.path("pictures").exists():  # of an older version, which took it; it can no longer change
            return
        raise UsageError(f"data.sidecars={given} is read beside shards as they stream: set data.stream=true, too.")
    if not Path(given).is_dir() and not Path(given).resolve().is_relative_to(run.folder.resolve()):
        fix = "name the one that `pinxit data encode` wrote, or leave it out, and the run encodes for itself"
        raise UsageError(f"data.sidecars={given}: there is no such folder; {fix}.")


def all_encoded(run: Run[Any], name: str, kind: str, pictures: str = "pictures") -> bool:
    """Whether every shard of the run's stream in the folder `pictures` has its sidecar."""
    place = run.path(pictures)
    return has_pictures(place) and is_complete(Stream.open(place).urls, kind, sidecar_folder(run, name))


def encode_missing(run: Run[Any], name: str, stream: Stream, encoder: RowEncoder, stop: Stop, label: str = "") -> None:
    """Write the missing sidecars of a stream's shards; `label` names the progress bar."""
    with progress_callback(run, label or name, stop) as progress:
        encode_shards(stream.urls, encoder, sidecar_folder(run, name), progress, stream.shard_cache.folder)
