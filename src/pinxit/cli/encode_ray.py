"""`pinxit data encode --engine ray`: the same sidecars by many processes, a shard at a time.

A shard is done when its sidecar is there, so the same command resumes where it stopped, and what a process was encoding
when it died is encoded by another one. The command alone holds the lock of the folder; processes write whole files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pinxit import cluster
from pinxit.cli.progress import bar
from pinxit.errors import DataError, PinxitError

if TYPE_CHECKING:
    import numpy as np

SAID = "said"  # the column with what was logged, such as broken pictures


def encode_by_ray(shards: str, asked: Mapping[str, Any], out: Path, workers: int | None) -> list[Path]:
    """`encode_shards` by Ray; `asked`: arguments of `row_encoder`. All machines see the folder `out`.

    Raises UsageError before any process starts, PinxitError for the first shard that cannot be encoded.
    """
    import torch

    from pinxit.data.shard_cache import shards_of
    from pinxit.data.sidecars import encode_shards, finish, missing_sidecars, sidecar_name
    from pinxit.data.stream_index import indexed_records
    from pinxit.recipes.sidecars import row_encoder

    cluster.check_installed()
    encoder, urls = row_encoder(**asked), shards_of(shards)
    kind, model = encoder.kind, dict(encoder.about)
    if not missing_sidecars(urls, kind, out):
        return encode_shards(urls, encoder, out)
    del encoder  # the processes have encoders of their own
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    about = {"asked": dict(asked), "model": model, "out": str(out), "known": indexed_records(urls)}
    done = cluster.map_rows(EncodingWorker, about, [{"url": url} for url in urls], workers)
    with bar("encoding", len(urls), "shards") as shown:
        for number, row in enumerate(done, 1):
            if row[SAID]:
                logging.getLogger("pinxit").warning("%s", row[SAID])
            shown(number)
    finish(out, kind, model)
    return [out / sidecar_name(url, kind) for url in urls]


class EncodingWorker:
    """A frozen model in a process of the cluster."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        """`about`: what `encode_by_ray` passes, and the surroundings that `cluster.set_up_worker` wants."""
        from pinxit.recipes.sidecars import row_encoder

        cluster.set_up_worker(about)
        self.encoder = row_encoder(**about["asked"])
        self.model, self.known, self.out = about["model"], about["known"], Path(about["out"])

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, list[str]]:
        """Encode the shards that have no sidecar; returns all, each with what was logged and an error message or ""."""
        urls = [str(url) for url in batch["url"]]
        said, refused = zip(*map(self._encode, urls), strict=True)
        return {"url": urls, SAID: list(said), cluster.REFUSED: list(refused)}

    def _encode(self, url: str) -> tuple[str, str]:
        from pinxit.data.shard_cache import ShardCache
        from pinxit.data.sidecars import cache_of, encode_shard

        cache = cache_of(self.out, self.encoder.kind)
        with _logged() as said:
            try:
                self._check_model()
                cache.mkdir(parents=True, exist_ok=True)
                with TemporaryDirectory(dir=cache) as copies:  # which no other process clears to make room
                    encode_shard(url, self.encoder, self.out, ShardCache(Path(copies)), self.known.get(url))
            except PinxitError as error:  # Ray would wrap it
                return "\n".join(said), str(error)
            except OSError as error:
                return "\n".join(said), f"cannot write into {self.out}: {error.strerror or error}."
        return "\n".join(said), ""

    def _check_model(self) -> None:
        if dict(self.encoder.about) != self.model:
            raise DataError("the model is not the same on all machines of the cluster: copy it to all of them.")


class _LogCollector(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _logged() -> Iterator[list[str]]:
    """What pinxit logs during the block, which a process of the cluster shows nobody."""
    handler = _LogCollector()
    logging.getLogger("pinxit").addHandler(handler)
    try:
        yield handler.lines
    finally:
        logging.getLogger("pinxit").removeHandler(handler)
