"""What is told of shards beforehand, so that a run need not look through them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pinxit.data import stream_builder, stream_index
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_cache import ShardCache
from pinxit.data.shard_writer import write_shards
from pinxit.data.stream_builder import build_stream
from pinxit.data.stream_index import INDEX, folder_beside, index_shards
from pinxit.data.stream_manifest import ShardRecord, scan_shard
from pinxit.data.streams import Stream
from pinxit.errors import DataError, UsageError
from tests.recipes.squares import write_squares

SIDE = 32


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    write_shards(FolderDataset(write_squares(tmp_path / "squares"), SIDE), tmp_path / "tars", per_shard=2, workers=1)
    return tmp_path / "tars"


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that have been looked through, by name."""
    names: list[str] = []

    def look(url: str, shard_cache: ShardCache) -> ShardRecord:
        names.append(url.rpartition("/")[2])
        return scan_shard(url, shard_cache)

    for module in (stream_index, stream_builder):
        monkeypatch.setattr(module, "scan_shard", look)
    return names


def told(stream: Stream) -> list[tuple[int, int, str]]:
    return [(shard["bytes"], shard["items"], shard["digest"]) for shard in stream.manifest["shards"]]


def test_a_run_beside_an_index_looks_at_nothing_and_is_the_same(tars: Path, tmp_path: Path, looked: list[str]) -> None:
    plain = build_stream(str(tars), SIDE, None, tmp_path / "plain")
    assert sorted(looked) == sorted(path.name for path in tars.glob("*.tar")) and len(looked) == 4
    looked.clear()
    found = index_shards(str(tars), tars)
    assert sum(one["items"] for one in found) == 8 and len(looked) == 4
    looked.clear()
    beside = build_stream(str(tars), SIDE, None, tmp_path / "beside")
    assert looked == [] and told(beside) == told(plain) and beside.identity() == plain.identity()
    assert (beside.pictures[5] == plain.pictures[5]).all() and beside.captions[5] == plain.captions[5]
    shutil.move(tars, tmp_path / "moved")
    assert told(build_stream(str(tmp_path / "moved"), SIDE, None, tmp_path / "other")) == told(plain) and looked == []
    assert not list(tmp_path.rglob(".index-cache"))


def test_a_killed_index_goes_on_and_more_shards_are_added(tars: Path, tmp_path: Path, looked: list[str]) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 4
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_shards(str(tars), tars, stop)
    assert len((tars / INDEX).read_text().splitlines()) == len(looked) == 3
    index_shards(str(tars), tars)
    assert len(looked) == 4
    build_stream(str(tars / "0000[02].tar"), SIDE, None, tmp_path / "some")  # a part of what is told
    assert len(looked) == 4
    shutil.copy(tars / "00001.tar", tars / "00009.tar")
    stream = build_stream(str(tars), SIDE, None, tmp_path / "more")
    assert len(stream) == 10 and looked[4:] == ["00009.tar"]


def test_a_killed_index_keeps_what_it_told_of_later_shards(tars: Path, looked: list[str]) -> None:
    index_shards(str(tars), tars)
    later = (tars / INDEX).stat().st_mtime + 5
    os.utime(tars / "00000.tar", (later, later))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_shards(str(tars), tars, stop)
    assert len((tars / INDEX).read_text().splitlines()) == 4 and looked[4:] == ["00000.tar"]


def test_an_index_has_one_shard_of_a_name(tars: Path, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    shutil.copy(tars / "00001.tar", tmp_path / "others" / "00000.tar")
    with pytest.raises(DataError, match=r"tars/00000\.tar and .*others/00000\.tar have the same name"):
        index_shards(str(tmp_path / "{tars,others}" / "00000.tar"), tars)
    assert not (tars / INDEX).exists()


@pytest.mark.parametrize("how", ["larger", "newer"])
def test_what_is_told_of_another_shard_does_not_count(how: str, tars: Path, tmp_path: Path, looked: list[str]) -> None:
    index_shards(str(tars), tars)
    looked.clear()
    shard = tars / "00001.tar"
    if how == "larger":
        times = shard.stat()
        shutil.copy(tars / "00002.tar", shard)
        shard.write_bytes(shard.read_bytes() + bytes(10240))
        os.utime(shard, (times.st_atime, times.st_mtime))
    else:
        shutil.copy(tars / "00002.tar", shard)
        later = (tars / INDEX).stat().st_mtime + 10
        os.utime(shard, (later, later))
    stream = build_stream(str(tars), SIDE, None, tmp_path / "s")
    assert looked == ["00001.tar"] and stream.captions[2] == stream.captions[4]


def test_remote_shards_are_not_fetched_until_they_are_read(tars: Path, tmp_path: Path, looked: list[str]) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    place = f"memory://{tmp_path.name}"
    for path in tars.glob("*.tar"):
        system.pipe(f"/{tmp_path.name}/{path.name}", path.read_bytes())
    with pytest.raises(UsageError, match=r"memory:.* is not a local folder or file: say by --out"):
        folder_beside(place)
    index_shards(place, tmp_path / "index")
    assert len(looked) == 4 and [path.name for path in (tmp_path / "index").iterdir()] == [INDEX]
    system.pipe(f"/{tmp_path.name}/{INDEX}", (tmp_path / "index" / INDEX).read_bytes())
    stream = build_stream(place, SIDE, None, tmp_path / "s" / "pictures")
    assert len(looked) == 4 and len(stream) == 8 and not list((tmp_path / "s").rglob("*.tar"))
    assert stream.captions[0] == build_stream(str(tars), SIDE, None, tmp_path / "t").captions[0]
    assert len(list((tmp_path / "s").rglob("*.tar"))) == 1
    lines = [json.loads(line) for line in (tmp_path / "index" / INDEX).read_text().splitlines()]
    system.pipe(
        f"/{tmp_path.name}/{INDEX}", "".join(json.dumps(one | {"digest": "0"}) + "\n" for one in lines).encode()
    )
    with pytest.raises(DataError, match=r"holds other items than when it was indexed: restore it, or index"):
        _ = build_stream(place, SIDE, None, tmp_path / "u" / "pictures").captions[0]
    system.pipe(f"/{tmp_path.name}/{INDEX}", b"{}\n")
    with pytest.raises(DataError, match="index the shards anew"):
        build_stream(place, SIDE, None, tmp_path / "v" / "pictures")
