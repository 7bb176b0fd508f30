"""Shards as a stream: an order that is a function of position, and one sentence for whatever is not as it was."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from pinxit.data import shard_cache as shard_cache_module
from pinxit.data import stream_order as stream_order_module
from pinxit.data.folders import FolderDataset
from pinxit.data.order import order_batch
from pinxit.data.shard_cache import ShardCache, shards_of
from pinxit.data.shard_writer import write_shards
from pinxit.data.shards import ShardDataset
from pinxit.data.stream_builder import build_stream
from pinxit.data.stream_items import Pictures
from pinxit.data.stream_manifest import LINES, STREAM, scan_shard
from pinxit.data.stream_order import StreamOrder, streams_for
from pinxit.data.streams import Stream
from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.training.rows import Rows, all_rows
from pinxit.types import Example
from tests.recipes.squares import write_squares

SIDE = 16


@pytest.fixture
def own(tars: Path, tmp_path: Path) -> Path:
    """Shards that a test may spoil."""
    return Path(shutil.copytree(tars, tmp_path / "own"))


@pytest.mark.parametrize(("counts", "batch"), [((5, 3, 0, 4, 7), 8), ((2, 2, 2, 2), 8), ((9,), 4), ((1, 30, 2), 12)])
def test_rows_are_those_of_one_rank_however_they_are_cut(counts: tuple[int, ...], batch: int) -> None:
    stream_order = StreamOrder(counts, 3, streams_for(batch, sum(count > 0 for count in counts)), window=2)
    for first in (0, batch, 17 * batch):
        every = stream_order.indices(all_rows(first, batch))
        assert len(every) == batch and set(every.tolist()) <= set(range(sum(counts)))
        for pieces in (2, 4):
            parts = [stream_order.indices(rows) for rows in all_rows(first, batch).cut(batch // pieces)]
            assert np.array_equal(np.concatenate(parts), every)


def test_a_stream_reads_every_item_of_its_shards_once_an_epoch() -> None:
    counts = (5, 3, 4, 7, 6, 2)
    stream_order = StreamOrder(counts, 1, 2, window=2)
    seen = [stream_order.indices(all_rows(4 * update, 4)).tolist() for update in range(60)]
    for stream in range(2):
        own = [item for update in seen for item in update[2 * stream : 2 * stream + 2]]
        ends = np.cumsum(counts)
        epoch = {int(np.searchsorted(ends, item, side="right")) for item in own[:10]}
        length = sum(counts[shard] for shard in {int(np.searchsorted(ends, one, side="right")) for one in own[:9]})
        assert len(epoch) <= 3 and length >= 9
    both: Counter[int] = Counter()
    position = [0, 0]
    for stream in range(2):  # an epoch of each stream together are all items, once
        size = sum(counts[shard] for shard in _first_shards(stream_order, stream))
        both.update(int(one) for part in stream_order._taken(stream, 0, size) for one in part)
        position[stream] = size
    assert both == Counter(range(sum(counts)))
    again = [int(one) for part in stream_order._taken(0, position[0], position[0]) for one in part]
    first = [int(one) for part in stream_order._taken(0, 0, position[0]) for one in part]
    assert again != first  # another epoch, another order
    other = StreamOrder(counts, 2, 2, window=2)
    assert other.indices(all_rows(0, 16)).tolist() != stream_order.indices(all_rows(0, 16)).tolist()


def _first_shards(stream_order: StreamOrder, stream: int) -> list[int]:
    return stream_order_module._shards_of(stream_order, stream, 0)


def test_few_shards_are_read_at_a_time_and_the_next_ones_are_known() -> None:
    stream_order = StreamOrder((100,) * 64, 0, 4, window=2)
    for update in range(40):
        rows = all_rows(8 * update, 8)
        read = {int(one) // 100 for one in stream_order.indices(rows)}
        current, later = stream_order.nearby_shards(rows)
        assert read <= set(current) and len(set(current)) <= 4 * 2 and len(set(current + later)) <= 4 * 4


def test_the_thousandth_epoch_is_no_dearer_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each begins is found once, for epochs of a stream hold unlike numbers of items."""
    stream_order, asked = StreamOrder((5, 3, 4, 7, 6, 2), 1, 2, window=2), list[int]()
    near = stream_order.indices(all_rows(4 * 9000, 4))

    def noted(position: int, count: int, length: int, seed: int, group: int = 1) -> Any:
        asked.append(position)
        return order_batch(position, count, length, seed, group)

    monkeypatch.setattr(stream_order_module, "order_batch", noted)
    further = [stream_order.indices(all_rows(4 * update, 4)) for update in range(9001, 9011)]
    assert len(asked) < 40
    fresh = StreamOrder((5, 3, 4, 7, 6, 2), 1, 2, window=2)
    assert [one.tolist() for one in [near, *further]] == [
        fresh.indices(all_rows(4 * update, 4)).tolist() for update in range(9000, 9011)
    ]
    assert (
        fresh.indices(all_rows(8, 4)).tolist()
        == StreamOrder((5, 3, 4, 7, 6, 2), 1, 2, window=2).indices(all_rows(8, 4)).tolist()
    )


def test_the_next_epochs_shards_are_known_when_one_ends() -> None:
    stream_order = StreamOrder((4,) * 8, 0, 1, window=2)
    for update in range(40):
        coming = [
            int(one) // 4
            for later in (update, update + 1, update + 2)
            for one in stream_order.indices(all_rows(4 * later, 4))
        ]
        current, later = stream_order.nearby_shards(all_rows(4 * update, 4))
        assert set(coming) <= set(current + later), update


def test_pictures_and_captions_are_those_of_the_shards(tars: Path, tmp_path: Path) -> None:
    stream = build_stream(str(tars), SIDE, None, tmp_path / "s")
    dataset = ShardDataset(sorted(tars.glob("*.tar")), SIDE)
    assert len(stream) == len(dataset) == 8 and stream.size == SIDE
    for index in range(8):
        assert np.array_equal(stream.pictures[index], dataset[index].picture)
        assert stream.captions[index] == dataset[index].captions
    assert stream.pictures[np.array([3, 0, 3])].shape == (3, SIDE, SIDE, 3)
    assert np.array_equal(stream.pictures[:2], np.stack([dataset[0].picture, dataset[1].picture]))
    held = [stream.holding_out(3).order(all_rows(4 * update, 4), 5).tolist() for update in range(10)]
    assert {item for update in held for item in update} == set(range(5))
    few = build_stream(str(tars), SIDE, 3, tmp_path / "few")
    assert len(few) == 3 and few.about["items"] == 3


def test_a_stream_is_as_good_as_a_bank_in_a_program(
    tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by paths; what is done to a picture stays outside; it travels to other processes; nothing is no picture."""
    size: Any = np.int64(SIDE)
    monkeypatch.chdir(tars.parent)
    stream = build_stream(Path(tars.name), size, 7, str(tmp_path / "s"), cache="cache").holding_out(2)
    monkeypatch.chdir("/")
    kept = stream[0].picture.copy()
    stream[0].picture[:] = 0
    stream.pictures[0][:] = 0
    assert kept.any() and np.array_equal(stream[0].picture, kept)
    for other in (pickle.loads(pickle.dumps(stream)), copy.deepcopy(stream)):
        assert len(other) == 7 and other.held_out == 2 and np.array_equal(other[0].picture, kept)
        assert other.order(all_rows(8, 4), 3).tolist() == stream.order(all_rows(8, 4), 3).tolist()
    assert stream.pictures[[]].shape == stream.pictures[7:].shape == (0, SIDE, SIDE, 3)
    with pytest.raises(UsageError, match=r"all 7 pictures of .*s are held out"):
        stream.holding_out(7).order(all_rows(0, 4), 0)


@pytest.mark.parametrize(
    ("size", "count", "message"),
    [
        (SIDE, 0, "count must be at least 1, not 0"),
        (SIDE, 2.5, "count must be a whole number, not 2.5"),
        (0, 3, "size must be at least 1, not 0"),
    ],
)
def test_a_size_or_count_that_is_none_leaves_no_stream(
    tars: Path, tmp_path: Path, size: Any, count: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_stream(str(tars), size, count, tmp_path / "s")
    assert len(build_stream(str(tars), SIDE, 3, tmp_path / "s")) == 3
    with pytest.raises(DataError, match="holds a stream of items=3, not 5: "):
        build_stream(str(tars), SIDE, 5, tmp_path / "s")


@dataclass
class Endless:
    """A trillion items; item i is a picture of the level i % 251."""

    size: int = SIDE

    def __len__(self) -> int:
        return 10**12

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return Example(np.full((SIDE, SIDE, 3), index % 251, np.uint8), (str(index),), str(index))


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (np.array([10**11, 7, -1]), [10**11, 7, 10**12 - 1]),
        ([4, 4], [4, 4]),
        (slice(10**12 - 3, None, 2), [10**12 - 3, 10**12 - 1]),
    ],
)
def test_a_batch_costs_the_same_of_any_stream(index: Any, expected: list[int]) -> None:
    pictures = Pictures(Endless())
    assert pictures[index][:, 0, 0, 0].tolist() == [one % 251 for one in expected]
    assert pictures[-2].shape == (SIDE, SIDE, 3) and pictures[-2][0, 0, 0] == (10**12 - 2) % 251
    with pytest.raises(IndexError):
        pictures[10**12]


def test_a_killed_look_goes_on_with_the_next_shard(tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    look = "pinxit.data.stream_builder.scan_shard"
    true = scan_shard

    def dies(url: str, shard_cache: Any) -> Any:
        looked.append(url)
        if len(looked) == 3:
            raise KeyboardInterrupt
        return true(url, shard_cache)

    monkeypatch.setattr(look, dies)
    with pytest.raises(KeyboardInterrupt):
        build_stream(str(tars), SIDE, None, tmp_path / "s")
    assert not (tmp_path / "s" / STREAM).exists() and (tmp_path / "s" / LINES).is_file()
    assert len(build_stream(str(tars), SIDE, None, tmp_path / "s")) == 8
    assert len(looked) == 3 + 2


def spoil(path: Path, key: str) -> None:
    """Write the tar anew with other bytes for the picture of one item, as many as before."""
    with tarfile.open(path) as tar:
        files = [(one.name, tar.extractfile(one).read()) for one in tar.getmembers()]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            data = b"\0" * len(data) if name == key else data
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_a_broken_item_is_named_and_the_next_one_stands_in(own: Path, tmp_path: Path) -> None:
    spoil(own / "00001.tar", "000000002.png")
    stream = build_stream(str(own), SIDE, None, tmp_path / "s")
    assert np.array_equal(stream.pictures[2], stream.pictures[3]) and stream.captions[2] == stream.captions[3]
    assert [problem.key for problem in stream.problems] == ["00001.tar/000000002"]
    spoil(own / "00001.tar", "000000003.png")
    with pytest.raises(DataError, match=r"00001\.tar holds no picture that can be used"):
        build_stream(str(own), SIDE, None, tmp_path / "t").pictures[2]


@pytest.mark.parametrize(
    ("broken", "held_out", "instead"),
    [
        ((5, 6), 2, {4: 4, 5: 4, 6: 7}),  # items 6 and 7, in the second of two shards, are held out
        ((5, 6), 0, {5: 7, 6: 7}),
        ((4, 5), 2, {4: 3, 5: 3, 6: 6}),  # nothing of that shard is left for training
        ((2, 3), 6, {2: 4, 3: 4, 1: 1}),  # nothing of the first shard is left to hold out
        ((7,), 1, {7: None, 6: 6}),
    ],
)
def test_what_replaces_a_broken_item_is_held_out_if_that_is(
    tmp_path: Path, broken: tuple[int, ...], held_out: int, instead: dict[int, int | None]
) -> None:
    write_shards(FolderDataset(write_squares(tmp_path / "squares"), SIDE), tmp_path / "own", per_shard=4, workers=1)
    for item in broken:
        spoil(tmp_path / "own" / f"{item // 4:05d}.tar", f"{item:09d}.png")
    stream = build_stream(str(tmp_path / "own"), SIDE, None, tmp_path / "s")
    held = stream.holding_out(held_out)
    for item, other in instead.items():
        if other is None:
            with pytest.raises(DataError, match="holds no picture that can be used"):
                held.item_shown(item)
        else:
            assert held.item_shown(item) == other and np.array_equal(held.pictures[item], stream.pictures[other])


def test_shards_that_are_not_as_they_were(own: Path, tmp_path: Path) -> None:
    build_stream(str(own), SIDE, None, tmp_path / "s")
    first = own / "00000.tar"
    whole_file = first.read_bytes()
    first.write_bytes(whole_file[:-512])
    with pytest.raises(DataError, match=rf"00000\.tar is {len(whole_file) - 512} bytes, not {len(whole_file)} as when"):
        Stream.open(tmp_path / "s")
    with pytest.raises(DataError, match="truncated"):
        first.write_bytes(whole_file[: len(whole_file) // 2])
        build_stream(str(own), SIDE, None, tmp_path / "other")
    first.unlink()
    with pytest.raises(DataError, match=r"there is no shard .*00000\.tar any more: restore it"):
        Stream.open(tmp_path / "s")
    with tarfile.open(first, "w", format=tarfile.USTAR_FORMAT) as tar:  # another one, of the same size
        for name in ("a.png", "a.txt"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"cat"))
    with first.open("ab") as handle:
        handle.truncate(len(whole_file))
    with pytest.raises(DataError, match=r"00000\.tar holds other items than when it was indexed"):
        Stream.open(tmp_path / "s").pictures[0]
    with pytest.raises(DataError, match="holds a stream of size=16, not 32"):
        build_stream(str(own), 32, None, tmp_path / "s")


@pytest.fixture
def remote(tars: Path) -> Iterator[str]:
    """The same shards in a store that is not this file system."""
    memory: Any = fsspec.filesystem("memory")
    for path in tars.glob("*.tar"):
        memory.pipe(f"/bucket/{path.name}", path.read_bytes())
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def test_remote_shards_are_copied_and_make_room(remote: str, tars: Path, tmp_path: Path) -> None:
    names = [f"memory://bucket/{number:05d}.tar" for number in range(4)]
    assert shards_of(remote) == shards_of(f"{remote}/{{00000..00003}}.tar") == shards_of(f"{remote}/*.tar") == names
    stream = build_stream(remote, SIDE, None, tmp_path / "s")
    local = build_stream(str(tars), SIDE, None, tmp_path / "t")
    assert stream.identity() == local.identity()
    assert np.array_equal(stream.pictures[:], local.pictures[:])
    size = (tars / "00000.tar").stat().st_size
    small = ShardCache(tmp_path / "small", room=2.5 * size)
    for name in names:
        assert small.path(name).read_bytes() == (tars / name.rpartition("/")[2]).read_bytes()
    assert len(list((tmp_path / "small").glob("*.tar"))) == 2 and small.path(names[3]).is_file()


def test_networks_are_tried_again_and_what_is_gone_is_not(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, asked = fsspec.open, []

    def flaky(url: str, *how: Any) -> Any:
        asked.append(url)
        if len(asked) < 3:
            raise TimeoutError("the network is slow")
        return true(url, *how)

    monkeypatch.setattr(fsspec, "open", flaky)
    monkeypatch.setattr(shard_cache_module, "PATIENCE", 0.0)
    assert ShardCache(tmp_path / "a").path(f"{remote}/00000.tar").is_file() and len(asked) == 3
    with pytest.raises(DataError, match=r"there is no shard memory://bucket/9\.tar"):
        ShardCache(tmp_path / "b").path(f"{remote}/9.tar")
    assert len(asked) == 4
    monkeypatch.setattr(fsspec, "open", lambda *how: (_ for _ in ()).throw(TimeoutError("down")))
    with pytest.raises(PinxitError, match=r"cannot be fetched, after 6 tries \(down\); the same command goes on"):
        ShardCache(tmp_path / "c").path(f"{remote}/00000.tar")
    assert not list((tmp_path / "c").glob("*.tar")) and not list((tmp_path / "c").glob(".*.part"))


def test_rows_of_the_training_are_rows_of_a_deal() -> None:
    rows = Rows(32, 16, 4, 8)
    assert StreamOrder((10, 10), 0, 2).indices(rows).shape == (8,)
