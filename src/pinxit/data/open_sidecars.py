"""The sidecars of a stream's shards (files of precomputed features), opened when their items are needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from pinxit.data.sidecars import sidecar_name
from pinxit.errors import DataError

if TYPE_CHECKING:
    from pinxit.data.streams import Stream

T = TypeVar("T")
OPEN = 64  # sidecars kept open


class OpenSidecars(Generic[T]):
    """The sidecars of one kind; `read` opens a file. Thread-safe."""

    def __init__(self, stream: Stream, folder: Path, kind: str, read: Callable[[Path], T]) -> None:
        self.stream, self.folder, self.kind, self.read = stream, folder, kind, read
        self._open: OrderedDict[int, T] = OrderedDict()
        self._lock = Lock()

    def of(self, index: int) -> tuple[T, int]:
        """The sidecar that has item `index`, and its row there; of a broken item, those of its replacement."""
        shard, row = self.stream.place(self.stream.item_shown(index))
        with self._lock:
            if shard not in self._open:
                url = self.stream.manifest["shards"][shard]["url"]
                self._open[shard] = self.read(self.folder / sidecar_name(url, self.kind))
                while len(self._open) > OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            return self._open[shard], row


def sidecars_of(stream: Stream, folder: Path, kind: str) -> Iterator[tuple[Path, str]]:
    """The path of each shard's sidecar, with the digest of the shard. Raises DataError if one is missing."""
    for shard in stream.manifest["shards"]:
        place = folder / sidecar_name(shard["url"], kind)
        if not place.is_file():
            raise DataError(f"there is no {place}: encode the shards with --with {kind}.")
        yield place, shard["digest"]
