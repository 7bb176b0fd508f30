"""Copies of remote shards: fetched ahead and once, kept while they are read, had again where they made room."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from pinxit.data import shard_cache as shard_cache_module
from pinxit.data import stream_manifest, streams
from pinxit.data.prefetch_threads import PrefetchThreads
from pinxit.data.shard_cache import ShardCache, shards_of
from pinxit.data.shards import read_span
from pinxit.data.stream_builder import build_stream
from pinxit.data.stream_index import INDEX, index_shards
from pinxit.data.streams import Stream
from pinxit.errors import DataError, PinxitError
from pinxit.locks import folder_lock

SIDE = 16


@pytest.fixture
def remote(tars: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The same in a store that is not this file system, and nobody has patience."""
    memory: Any = fsspec.filesystem("memory")
    for path in tars.glob("*.tar"):
        memory.pipe(f"/store/{path.name}", path.read_bytes())
    for module in (shard_cache_module, streams):
        monkeypatch.setattr(module, "PATIENCE", 0.0)
    yield "memory://store"
    memory.rm("/store", recursive=True)


def fails_first(work: Callable[..., Any], times: int, error: Exception) -> tuple[Callable[..., Any], list[int]]:
    """`work` that raises so many times before it works, and its calls."""
    calls: list[int] = []

    def tried(*how: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return work(*how, **more)

    return tried, calls


def test_what_is_expected_is_done_once_by_few_threads_which_then_end() -> None:
    ahead, open_door, begun = PrefetchThreads(2), threading.Event(), list[str]()

    def work(name: str) -> None:
        begun.append(name)
        open_door.wait(60)
        raise OSError("nobody hears of it")

    for name in ["a", "b", "c", "d"] * 50:
        ahead.begin(name, work)
    end = time.monotonic() + 60
    while len(begun) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert sorted(begun) == ["a", "b"]
    open_door.set()
    while ahead._running and time.monotonic() < end:
        time.sleep(0.01)
    assert sorted(begun) == ["a", "b", "c", "d"]
    ahead.begin("a", begun.append)
    while len(begun) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    assert begun[4] == "a", "what is over may be wanted again"


def test_nobody_waits_for_it_at_the_end() -> None:
    """A run that is told to stop does not first fetch what it would have read later."""
    code = "import time; from pinxit.data.prefetch_threads import PrefetchThreads\n"
    code += "PrefetchThreads().begin('a', lambda _: time.sleep(600))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_copies_that_are_read_are_not_the_first_to_go(remote: str, tars: Path, tmp_path: Path) -> None:
    size = (tars / "00000.tar").stat().st_size
    shard_cache, urls = ShardCache(tmp_path / "cache", room=2.5 * size), shards_of(remote)
    first, second = shard_cache.path(urls[0]), shard_cache.path(urls[1])
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    assert shard_cache.holds(urls[0])
    shard_cache.path(urls[2])
    assert first.is_file() and not second.exists() and not shard_cache.holds(urls[1])


def test_copies_leave_room_on_the_disk(remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard_cache, urls = ShardCache(tmp_path / "cache"), shards_of(remote)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(shard_cache_module.SPARE + 1))
    for url in urls[:3]:
        shard_cache.path(url)
    assert len(list(shard_cache.folder.glob("*.tar"))) == 3
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(0))
    assert shard_cache.path(urls[3]).is_file() and len(list(shard_cache.folder.glob("*.tar"))) == 1
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PinxitError, match=r"cannot write .*file.*tar: "):
        ShardCache(tmp_path / "file" / "cache").path(urls[0])


def test_a_kill_leaves_nothing_that_takes_room_for_ever(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one between a fetch and the moment that its copy is known by its name."""
    shard_cache, (url, *_) = ShardCache(tmp_path / "run" / "cache"), shards_of(remote)
    utime = os.utime

    def killed(path: Path, times: tuple[float, float] | None = None) -> None:
        if times is not None:
            raise KeyboardInterrupt
        utime(path)

    with monkeypatch.context() as once, pytest.raises(KeyboardInterrupt):
        once.setattr(os, "utime", killed)
        shard_cache.path(url)
    assert not shard_cache.holds(url)
    with folder_lock(tmp_path / "run", "the run"):
        assert [path.suffix for path in shard_cache.folder.iterdir()] == [".lock"]
    assert shard_cache.path(url).is_file()


@pytest.fixture
def stream(remote: str, tmp_path: Path) -> Stream:
    return build_stream(remote, SIDE, None, tmp_path / "run" / "pictures")


def test_a_copy_that_made_room_while_it_was_read_is_had_again(
    stream: Stream, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, gone = build_stream(str(tars), SIDE, None, tmp_path / "local"), list[Path]()

    def away(path: Path, span: Any) -> bytes:
        if len(gone) < 2:
            gone.append(path)
            path.unlink()
        return read_span(path, span)

    monkeypatch.setattr(streams, "read_span", away)
    assert np.array_equal(stream.pictures[2], local.pictures[2]) and len(gone) == 2
    assert not stream.problems and stream.item_shown(2) == 2


def test_a_copy_that_made_room_before_it_was_opened_is_had_again(
    stream: Stream, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, gone = build_stream(str(tars), SIDE, None, tmp_path / "local"), list[Path]()

    def away(path: Path, shard: Any) -> None:
        if len(gone) < 2:
            gone.append(path)
            path.unlink()
        stream_manifest.check_bytes(path, shard)

    monkeypatch.setattr(streams, "check_bytes", away)
    assert np.array_equal(stream.pictures[2], local.pictures[2]) and len(gone) == 2


def test_a_disk_that_does_not_answer_breaks_no_item(
    stream: Stream, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, error = build_stream(str(tars), SIDE, None, tmp_path / "local"), OSError(errno.EIO, "Input/output error")
    flaky, calls = fails_first(read_span, 3, error)
    monkeypatch.setattr(streams, "read_span", flaky)
    assert np.array_equal(stream.pictures[0], local.pictures[0]) and len(calls) >= 4 and not stream.problems
    monkeypatch.setattr(streams, "read_span", fails_first(read_span, 1000, error)[0])
    with pytest.raises(PinxitError, match=r"00001\.tar cannot be read \(Input/output error\); the same command goes"):
        _ = stream.pictures[2]
    assert not stream.problems


def test_a_shard_that_is_cut_while_it_is_read_is_no_broken_item(tars: Path, tmp_path: Path) -> None:
    data = (tars / "00000.tar").read_bytes()
    (tmp_path / "own").mkdir()
    shard = tmp_path / "own" / "00000.tar"
    shard.write_bytes(data)
    found = build_stream(str(tmp_path / "own"), SIDE, None, tmp_path / "s")
    _ = found.pictures[0]
    shard.write_bytes(data[:600])
    with pytest.raises(DataError, match=rf"00000\.tar is 600 bytes, not {len(data)} as when this run began"):
        _ = found.pictures[1]


def test_lists_and_indexes_are_asked_for_again(
    remote: str, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory: Any = fsspec.filesystem("memory")
    flaky, calls = fails_first(memory.glob, 2, TimeoutError("slow"))
    monkeypatch.setattr(type(memory), "glob", lambda self, *how: flaky(*how))
    assert len(shards_of(remote)) == 4 and len(calls) == 3
    monkeypatch.setattr(type(memory), "glob", lambda self, *how: fails_first(print, 9, TimeoutError("down"))[0]())
    with pytest.raises(PinxitError, match=r"memory://store cannot be fetched, after 6 tries \(down\)"):
        shards_of(remote)
    monkeypatch.undo()
    monkeypatch.setattr(shard_cache_module, "PATIENCE", 0.0)
    index_shards(str(tars), tmp_path / "index")
    memory.pipe(f"/store/{INDEX}", (tmp_path / "index" / INDEX).read_bytes())
    opened, asked = fails_first(fsspec.open, 2, TimeoutError("slow"))
    monkeypatch.setattr(fsspec, "open", opened)
    assert len(build_stream(remote, SIDE, None, tmp_path / "run" / "pictures")) == 8
    assert len(asked) == 3, "the index, and no shard"
