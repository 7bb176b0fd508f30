"""Streams: training pictures read from tar shards when they are needed, so that only an index is stored on disk."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit.data.bank import Bank
from pinxit.data.bank_layout import MANIFEST
from pinxit.data.problems import ItemError, Problems
from pinxit.data.shard_cache import PATIENCE, TRIES, ShardCache
from pinxit.data.shards import Shard, example_of, index_shard, read_span
from pinxit.data.stream_items import Pictures, StreamCaptions
from pinxit.data.stream_manifest import AGAIN, STREAM, ShardRecord, StreamManifest, check_bytes, digest_of
from pinxit.data.stream_order import Rows, StreamOrder, streams_for
from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.files import read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pinxit.types import Example

DECODED = 256e6  # bytes of decoded pictures that are cached, as captions and pictures are asked for separately
OPEN = 64  # shards whose index is in memory


@dataclass(frozen=True, eq=False)
class Stream:
    """Pictures and captions by number, with the methods of `Bank`. A broken item is replaced by the next usable one.

    Thread-safe, as batches are made by several threads.
    """

    folder: Path
    manifest: StreamManifest
    shard_cache: ShardCache
    problems: Problems = field(default_factory=Problems)
    held_out: int = 0  # items at the end that are never trained on
    _lock: Any = field(default_factory=Lock, repr=False)
    _decoded: OrderedDict[int, Example] = field(default_factory=OrderedDict, repr=False)
    _opened: OrderedDict[int, Shard] = field(default_factory=OrderedDict, repr=False)
    _stands: dict[int, int] = field(default_factory=dict, repr=False)  # for broken items, their replacements
    _named: set[str] = field(default_factory=set, repr=False)  # keys of broken items that have been reported
    _orders: dict[tuple[int, int], StreamOrder] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: Path | str, cache: Path | str | None = None) -> Stream:
        """Open a finished folder; `cache`: the folder for copies of remote shards (None: beside this one).

        Raises DataError when it is unfinished, or when a local shard is missing or has another size.
        """
        folder = Path(folder)
        manifest: StreamManifest = read_json(folder / STREAM, StreamManifest, DataError, AGAIN)
        for shard in manifest["shards"]:
            if "://" not in shard["url"]:
                check_bytes(Path(shard["url"]), shard)
                shard["url"] = str(Path(shard["url"]).absolute())  # a program may change its working directory
        folder, cache = folder.absolute(), Path(cache or folder.parent / "cache").absolute()
        return cls(folder, manifest, ShardCache(cache))

    def __len__(self) -> int:
        return self.manifest["items"]

    @property
    def size(self) -> int:
        """The side of the pictures in pixels."""
        return self.manifest["size"]

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint records of its training data."""
        return {"items": len(self), "source": {"kind": "stream", "spec": self.manifest["spec"]}}

    def identity(self) -> dict[str, Any]:
        """What identifies the data of this stream, wherever its shards are."""
        names = [[shard["url"].rpartition("/")[2], shard["digest"]] for shard in self.manifest["shards"]]
        digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
        return {"kind": "stream", "items": len(self), "size": self.size, "files": digest}

    def holding_out(self, count: int) -> Stream:
        """This stream with its last `count` items held out: neither they nor those before replace the others."""
        return Stream(self.folder, self.manifest, self.shard_cache, self.problems, count)

    def order(self, rows: Rows, seed: int) -> NDArray[np.int64]:
        """The items of these rows of an update, int64 [count], in the order of `data.stream_order`.

        Held-out items are never among them; raises UsageError when all are. Also starts to fetch the shards that are
        needed next.
        """
        stream_order = self._stream_order(rows.batch, seed)
        if "://" in self.manifest["shards"][0]["url"]:
            for shard in self._affordable(stream_order, rows):
                self.shard_cache.prefetch(self.manifest["shards"][shard]["url"])
        return stream_order.indices(rows)

    @property
    def urls(self) -> list[str]:
        """The URLs or paths of its shards."""
        return [shard["url"] for shard in self.manifest["shards"]]

    @property
    def pictures(self) -> Pictures:
        """Like an array uint8 [N, S, S, 3], whose pictures are read when they are indexed."""
        return Pictures(self)

    @property
    def captions(self) -> StreamCaptions:
        """The captions of every item."""
        return StreamCaptions(self)

    def __getitem__(self, index: int) -> Example:
        """Item `index`; if it is broken, the first usable one of `_instead`, and a problem is recorded.

        Its picture is the caller's own. Raises DataError when there is no usable item or a shard has changed,
        PinxitError when one cannot be read.
        """
        found = self._item(index)
        return replace(found, picture=found.picture.copy())  # what is cached stays, whatever becomes of it

    def _item(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}.")
        with self._lock:
            if (known := self._decoded.get(index)) is not None:
                self._decoded.move_to_end(index)
                return known
        for item in chain([index], self._instead(index)):
            number, row = self.place(item)
            try:
                found = example_of(self._shard(number), row, self.size, partial(self._bytes, number))
            except ItemError as error:
                with self._lock:
                    if error.key not in self._named:
                        self._named.add(error.key)
                        self.problems.add(error.key, error.reason)
                        Problems([list(self.problems)[-1]]).log()
                continue
            if item != index:
                self._stands[index] = item
            self._keep(index, found)
            return found
        raise DataError(f"{self.urls[self.place(index)[0]]} holds no picture that can be used: {AGAIN}.")

    def _instead(self, index: int) -> Iterator[int]:
        """What may replace a broken item: those after it in its shard, then those before.

        Only items that are held out if it is. Where the border cuts the shard, which may leave few, the nearest items
        of other shards come last.
        """
        border = len(self) - self.held_out
        low, high = (border, len(self)) if index >= border else (0, border)
        number, row = self.place(index)
        begin, end = index - row, int(self._ends[number])
        start, stop = max(begin, low), min(end, high)
        yield from chain(range(index + 1, stop), range(start, index))
        if (start, stop) != (begin, end):
            yield from chain(reversed(range(low, start)), range(stop, high))

    def place(self, index: int) -> tuple[int, int]:
        """The number of the shard that has item `index`, and its row there."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - int(self._ends[number]) + self.manifest["shards"][number]["items"]

    def item_shown(self, index: int) -> int:
        """The item that `self[index]` returns: `index`, or its replacement if it is broken."""
        self._item(index)
        return self._stands.get(index, index)

    def _keep(self, index: int, found: Example) -> None:
        with self._lock:
            self._decoded[index] = found
            while len(self._decoded) * found.picture.nbytes > DECODED:
                self._decoded.popitem(last=False)

    def _bytes(self, number: int, span: NDArray[np.int64]) -> bytes:
        """Read bytes of a shard, which is fetched again if its copy has been deleted in the meantime.

        Raises DataError if the shard has changed, PinxitError if the disk fails; not ItemError, as no item is broken.
        """
        for turn in range(TRIES):
            shard = self._shard(number)
            try:
                return read_span(shard.path, span)
            except FileNotFoundError:
                reason = "its local copy is deleted again and again"
            except OSError as error:
                check_bytes(shard.path, self.manifest["shards"][number])
                reason = error.strerror or str(error)
                time.sleep(PATIENCE * 2**turn)
        failure = f"{self.manifest['shards'][number]['url']} cannot be read ({reason})"
        raise PinxitError(f"{failure}; the same command goes on from the last save.")

    def _shard(self, number: int) -> Shard:
        """The index of a shard, compared with the manifest. Raises DataError if the shard has changed."""
        shard = self.manifest["shards"][number]
        with self._lock:
            if (known := self._opened.get(number)) is not None:
                self._opened.move_to_end(number)
                if self.shard_cache.holds(shard["url"]):
                    return known
        for turn in range(TRIES):
            path = self.shard_cache.path(shard["url"])
            try:
                found = _indexed(path, shard)
                break
            except DataError:  # perhaps as its copy has just made room for another
                if "://" not in shard["url"] or turn + 1 == TRIES:
                    raise
        with self._lock:
            self._opened[number] = found
            while len(self._opened) > OPEN:
                self._opened.popitem(last=False)
        return found

    def _affordable(self, stream_order: StreamOrder, rows: Rows) -> list[int]:
        """The shards to have for these rows, soonest needed first, as far as the cache has space.

        Were more expected, each would be fetched in the place of one that is not read yet. Space is shared equally
        among the streams of the order, as micro-batches and ranks ask for some of them at a time. If not even the
        current windows fit, those that do stay, and the others take turns in the space of one shard.
        """
        (current, later), share = stream_order.nearby_shards(rows), len(stream_order.of(rows)) / stream_order.streams
        sizes = {shard: self.manifest["shards"][shard]["bytes"] for shard in current + later}
        wanted, space = dict.fromkeys(current), share * self.shard_cache.space
        needed = sum(sizes[shard] for shard in wanted)
        if needed <= space:
            wanted |= dict.fromkeys(later)
        else:
            self.shard_cache.warn_of_more(needed / share)
            space -= share * max(sizes.values())
        ends = np.cumsum([sizes[shard] for shard in wanted])
        return list(wanted)[: int(np.searchsorted(ends, space, side="right"))]

    def __reduce__(self) -> tuple[Any, ...]:  # another process reads the shards itself
        return Stream, (self.folder, self.manifest, self.shard_cache, Problems(self.problems), self.held_out)

    def _stream_order(self, batch: int, seed: int) -> StreamOrder:
        asked = (batch, seed)
        if asked not in self._orders:
            if self.held_out >= len(self):
                raise UsageError(f"all {len(self)} pictures of {self.folder} are held out: hold out fewer.")
            counts = tuple(int(n) for n in np.diff(np.minimum([0, *self._ends], len(self) - self.held_out)))
            self._orders[asked] = StreamOrder(counts, seed, streams_for(batch, sum(count > 0 for count in counts)))
        return self._orders[asked]

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([shard["items"] for shard in self.manifest["shards"]])


def _indexed(path: Path, shard: ShardRecord) -> Shard:
    """The index of a shard's file. Raises DataError if it is not as the manifest says."""
    check_bytes(path, shard)
    found = index_shard(path, Problems())
    if digest_of(found) != shard["digest"]:
        changed = f"{shard['url']} holds other items than when it was indexed"
        raise DataError(f"{changed}: restore it, or index it anew and train into another folder.")
    return found


def open_pictures(folder: Path | str) -> Bank | Stream:
    """Open a folder of training pictures: a bank or a stream."""
    folder = Path(folder)
    return Stream.open(folder) if (folder / STREAM).is_file() else Bank.open(folder)


def has_pictures(folder: Path) -> bool:
    """Whether a folder holds a finished bank or stream."""
    return (folder / MANIFEST).is_file() or (folder / STREAM).is_file()
