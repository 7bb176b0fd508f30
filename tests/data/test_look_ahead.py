"""Remote shards that are fetched ahead: as many as there is room for, so that none makes room for another unread."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from pinxit.data import shard_cache as shard_cache_module
from pinxit.data.folders import FolderDataset
from pinxit.data.prefetch_threads import PrefetchThreads
from pinxit.data.shard_cache import SPARE, ShardCache
from pinxit.data.shard_writer import write_shards
from pinxit.data.stream_builder import build_stream
from pinxit.data.streams import Stream
from pinxit.training import loop
from pinxit.training.loop import Batch, fit
from pinxit.training.rows import Rows, all_rows
from tests.recipes.squares import write_squares
from tests.training.toy import Toy, plan

SIDE, SHARDS, ITEMS, BATCH = 16, 64, 4, 4  # four streams, whose windows of four shards are a quarter of all


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stream]:
    """Four squares, sixty-four times, in a store that is not this file system."""
    place, memory = tmp_path_factory.mktemp("far"), fsspec.filesystem("memory")
    write_shards(FolderDataset(write_squares(place / "squares"), SIDE), place / "tars", per_shard=ITEMS, workers=1)
    for number in range(SHARDS):
        memory.pipe(f"/far/{number:05d}.tar", (place / "tars" / "00000.tar").read_bytes())
    yield build_stream("memory://far", SIDE, None, place / "stream")
    memory.rm("/far", recursive=True)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each shard has been fetched."""
    counts, memory = Counter[str](), fsspec.filesystem("memory")

    def fetch(url: str, place: Path) -> None:
        counts[url] += 1
        place.write_bytes(memory.cat(url))

    monkeypatch.setattr(shard_cache_module, "fetch", fetch)
    return counts


@pytest.fixture(params=["at once", "late", "never"])
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Brings what is fetched ahead before it is read, after the update that expects it, or not at all."""
    waiting: dict[str, Callable[[str], object]] = {}

    def begin(_: PrefetchThreads, url: str, work: Callable[[str], object]) -> None:
        if request.param == "at once":
            work(url)
        elif request.param == "late":
            waiting[url] = work

    def come() -> None:
        while waiting:
            url, work = waiting.popitem()
            work(url)

    monkeypatch.setattr(PrefetchThreads, "begin", begin)
    return come


def with_room(stream: Stream, place: Path, shards: int) -> Stream:
    """The stream with a cache that so many shards fit into."""
    return Stream(
        stream.folder, stream.manifest, ShardCache(place, (shards + 0.1) * stream.manifest["shards"][0]["bytes"])
    )


def read_an_epoch(stream: Stream, batch: int, pieces: int, come: Callable[[], None]) -> int:
    """Read every item once; returns for how many shards of an update, in all."""
    reads = 0
    for first in range(0, len(stream), batch):
        items = [int(one) for rows in all_rows(first, batch).cut(batch // pieces) for one in stream.order(rows, 0)]
        for item in items:
            _ = stream[item]
        reads += len({stream.place(item)[0] for item in items})
        come()
    return reads


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("room", [100, 24, 17, 16])
def test_each_shard_is_fetched_once_an_epoch_if_the_current_windows_fit(
    remote: Stream, tmp_path: Path, fetched: Counter[str], network: Callable[[], None], room: int, pieces: int
) -> None:
    read_an_epoch(with_room(remote, tmp_path, room), BATCH, pieces, network)
    begun = min(room - 16, 16)  # of the next epoch, whose windows come next when this one ends
    assert len(fetched) == SHARDS <= sum(fetched.values()) <= SHARDS + begun, fetched.most_common(3)


@pytest.mark.parametrize(("batch", "room"), [(4, 14), (4, 2), (64, 60), (64, 20)])
def test_where_they_do_not_fit_some_stay_and_none_is_fetched_more_often_than_it_is_read(
    remote: Stream, tmp_path: Path, fetched: Counter[str], network: Callable[[], None], batch: int, room: int
) -> None:
    """Four windows of four shards, or sixteen."""
    current = 4 * min(batch, 16)
    for pieces in (1, 4):
        fetched.clear()
        reads = read_an_epoch(with_room(remote, tmp_path / str(pieces), room), batch, pieces, network)
        share = max(0.0, 1 - room / current)  # of the current windows that cannot stay
        assert sum(fetched.values()) <= min(reads, 1.2 * (SHARDS + share * reads)), (pieces, reads)


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize(
    ("room", "disk", "said"),
    [(16, 1000, []), (8, 1000, ["use smaller shards"]), (1000, 8, ["free more of its disk, or link it to a larger"])],
)
def test_a_cache_that_is_too_small_for_the_current_windows_is_said_once(
    remote: Stream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    room: int,
    disk: int,
    said: list[str],
    pieces: int,
) -> None:
    size = remote.manifest["shards"][0]["bytes"]
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=SPARE + (disk + 0.1) * size))
    monkeypatch.setattr(PrefetchThreads, "begin", lambda _, url, work: None)
    stream = with_room(remote, tmp_path / "cache", room)
    for first in range(0, 40, BATCH):
        for rows in all_rows(first, BATCH).cut(BATCH // pieces):
            stream.order(rows, 0)
            stream.holding_out(1).order(rows, 0)
    sizes = f"has room for {8.1 * size / 1e9:.3g} GB of the shards that are read at a time, which are"
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == len(said)
    for message, remedy in zip(found, said, strict=True):
        assert f"cache {sizes} {16 * size / 1e9:.3g} GB: " in message and remedy in message


def test_no_more_is_expected_than_the_disk_has_room_for(
    remote: Stream, tmp_path: Path, fetched: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = with_room(remote, tmp_path, 1000)
    disk = SPARE + 24.1 * stream.manifest["shards"][0]["bytes"]

    def left(place: Path) -> Any:
        return SimpleNamespace(free=disk - sum(path.stat().st_size for path in place.glob("*.tar")))

    monkeypatch.setattr(shutil, "disk_usage", left)
    monkeypatch.setattr(PrefetchThreads, "begin", lambda _, url, work: work(url))
    read_an_epoch(stream, BATCH, 1, lambda: None)
    assert SHARDS <= sum(fetched.values()) <= SHARDS + 8
    disk = 0.0
    full = with_room(remote, tmp_path / "full", 1000)
    fetched.clear()
    full.order(all_rows(0, BATCH), 0)
    assert not fetched and full.pictures[0].shape == (SIDE, SIDE, 3), "read all the same, when it is needed"


def test_what_another_process_expects_is_not_the_first_to_go(
    remote: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = (with_room(remote, tmp_path, 4).shard_cache for _ in range(2))
    monkeypatch.setattr(PrefetchThreads, "begin", lambda _, url, work: work(url))
    urls = remote.urls
    mine.path(urls[1])
    for url in urls[:2]:  # one that is not there yet, and one that is
        mine.prefetch(url)
    for url in urls[2:9]:
        assert other.path(url).is_file()
    assert [mine.holds(url) for url in urls[:9]] == [True] * 2 + [False] * 5 + [True] * 2


def test_a_copy_is_marked_as_expected_from_the_moment_that_it_is_there(
    remote: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or another process would delete it, as the one that was used longest ago."""
    replaced, seen = Path.replace, list[float]()

    def replace(path: Path, target: Path) -> Path:
        if target.suffix == ".tar":
            seen.append(path.stat().st_mtime)
        return replaced(path, target)

    shard_cache = with_room(remote, tmp_path, 4).shard_cache
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(PrefetchThreads, "begin", lambda _, url, work: work(url))
    shard_cache.path(remote.urls[0])
    shard_cache.prefetch(remote.urls[1])
    assert seen[0] < time.time() + 60 < seen[1]


class Streamed(Toy):
    """The toy, which also reads pictures of a stream."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    def batch(self, rows: Rows) -> Batch:
        _ = self.stream.pictures[self.stream.order(rows, 0)]
        return super().batch(rows)


def test_a_run_that_is_resumed_fetches_what_its_next_updates_read(
    remote: Stream, tmp_path: Path, fetched: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it measures and compiles with is read from those shards too."""
    monkeypatch.setattr(PrefetchThreads, "begin", lambda _, url, work: work(url))
    monkeypatch.setattr(loop, "compile_modules", lambda modules, plan, device, trial: trial() or "tried")
    about = plan(images=200, batch=BATCH)
    for end in (100, 104):  # the first in the epoch's second windows
        fetched.clear()
        stream = with_room(remote, tmp_path / str(end), 100)
        fit(Streamed(stream), about, tmp_path / "run", "cpu", progress=False, stop_after=end)
    current, later = stream._stream_order(BATCH, 0).nearby_shards(all_rows(100, BATCH))
    assert set(fetched) == {remote.urls[shard] for shard in current + later}
