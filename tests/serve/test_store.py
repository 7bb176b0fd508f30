"""What is told has been written; what could not be written is told as such."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from pinxit.errors import PinxitError
from pinxit.serve import records
from pinxit.serve import store as stores
from pinxit.serve.files import Urls
from pinxit.serve.records import Kept, Record
from pinxit.serve.store import Store


def record(name: str, owner: str = "", created: float = 1.0, prompt: str = "a") -> Record:
    return Record(name, owner, created, records.QUEUED, {"prompt": prompt})


def test_jobs_are_somebodys_and_end_once(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        await asyncio.gather(*(store.do(records.add([record(name, owner, k)])) for k, (name, owner) in
                               enumerate([("1", "a"), ("2", "b"), ("3", "a")])))  # fmt: skip
        assert [one.id for one in await store.do(records.listed("a", 1e9, 10))] == ["3", "1"]
        assert [one.id for one in await store.do(records.listed("a", 2.0, 10))] == ["1"]
        assert await store.do(records.one("b", "1")) is None
        assert await store.do(records.begun("1")) == 1 and await store.do(records.begun("1")) == 2
        assert await store.do(records.finish("1", records.DONE, [Kept("p", 0, 3, 7, 0.5, vector=b"v")]))
        assert not await store.do(records.finish("1", records.CANCELLED))
        assert await store.do(records.begun("1")) == 0
        assert [one.id for one in await store.do(records.unfinished)] == ["2", "3"]
        assert await store.do(records.vectors("a")) == [("p", "1", b"v")] and await store.do(records.vectors("b")) == []
        assert not await store.do(records.star("b", "1", True, "p")) and await store.do(
            records.star("a", "1", True, "p")
        )
        assert [one.id for one in await store.do(records.listed("a", 1e9, 10, starred=True))] == ["1"]
        assert await store.do(records.forget("b", "1")) is None and await store.do(records.forget("a", "3")) is None
        assert await store.do(records.forget("a", "1")) == ["p"]
        assert await store.do(records.vectors("a")) == []
        store.close()

    asyncio.run(play())


def test_the_same_key_is_the_same_job_for_its_owner_alone(tmp_path: Path) -> None:
    async def play() -> list[str]:
        store = Store(tmp_path)
        asked = [(record("1", "a"), "k"), (record("2", "a"), "k"), (record("3", "b"), "k"), (record("4", "a"), "")]
        found = [(await store.do(records.add([one], same)))[0].id for one, same in asked]
        store.close()
        return found

    assert asyncio.run(play()) == ["1", "1", "3", "4"]


def test_jobs_of_one_request_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        await store.do(records.add([record("1", "a"), record("2", "a")], "k"))
        with pytest.raises(sqlite3.IntegrityError):
            await store.do(records.add([record("3", "a"), record("1", "a")], "other"))
        assert [one.id for one in await store.do(records.unfinished)] == ["1", "2"]
        assert [one.id for one in await store.do(records.known("a", "k"))] == ["1", "2"]
        for owner, key in (("b", "k"), ("a", "k/0"), ("a", "other"), ("a", "")):
            assert await store.do(records.known(owner, key)) == []
        store.close()

    asyncio.run(play())


def test_one_error_of_a_group_is_its_own(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)

        def slow(base: sqlite3.Connection) -> None:
            time.sleep(0.05)

        calls = [slow, records.add([record("1")]), records.add([record("1")]), records.add([record("2")])]
        found = await asyncio.gather(*(store.do(one) for one in calls), return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["NoneType", "list", "IntegrityError", "list"]
        store.close()
        again = Store(tmp_path)
        assert len(await again.do(records.unfinished)) == 2
        again.close()

    asyncio.run(play())


def test_what_cannot_be_kept_is_said_and_the_store_goes_on(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        limit = store.base.execute("PRAGMA page_count").fetchone()[0]
        store.base.execute(f"PRAGMA max_page_count = {limit}")  # a full disk
        with pytest.raises(PinxitError, match="cannot be kept"):
            await store.do(records.add([record("1", prompt="x" * 100_000)]))
        store.base.execute("PRAGMA max_page_count = 100000")
        await store.do(records.add([record("2")]))
        assert [one.id for one in await store.do(records.unfinished)] == ["2"]
        store.close()

    asyncio.run(play())


def test_a_folder_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    base = sqlite3.connect(tmp_path / "jobs.sqlite")
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(PinxitError, match="newer pinxit"):
        Store(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(PinxitError, match="cannot keep jobs"):
        Store(tmp_path / "file")


def test_a_call_that_nobody_waits_for_any_more_stops_no_other(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        begun, go_on = threading.Event(), threading.Event()

        def slow(base: sqlite3.Connection) -> None:
            begun.set()
            go_on.wait(5)

        under_way = asyncio.ensure_future(store.do(slow))
        await asyncio.to_thread(begun.wait, 5)
        waiting = asyncio.ensure_future(store.do(records.add([record("1")])))
        await asyncio.sleep(0)
        for one in (under_way, waiting):
            one.cancel()
        await asyncio.gather(under_way, waiting, return_exceptions=True)
        go_on.set()
        await asyncio.wait_for(store.do(records.add([record("2")])), 5)
        assert [one.id for one in await store.do(records.unfinished)] == ["2"]
        store.close()

    asyncio.run(play())


def test_only_pictures_of_ours_are_swept(tmp_path: Path) -> None:
    urls = Urls(tmp_path / "urls", 60)
    old, new = urls.put(b"1", "png"), urls.put(b"2", "png")
    others = [tmp_path / "urls" / name for name in (f".{new}.1-2-3.part", "holiday.png")]  # half-written; somebody's
    for path in (*others, tmp_path / "urls" / old):
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    (tmp_path / "urls" / "folder").mkdir()
    os.utime(tmp_path / "urls" / "folder", (0, 0))
    (tmp_path / "urls" / ".a.part").symlink_to(tmp_path / "gone")  # as of a file that is renamed meanwhile
    urls.sweep()
    assert urls.find(old) is None and not (tmp_path / "urls" / old).exists() and urls.find(new) is not None
    assert all(path.exists() for path in others)


def test_a_folder_is_one_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "WAIT", 0.1)
    first = Store(tmp_path)
    with pytest.raises(PinxitError, match="another server keeps its jobs there"):
        Store(tmp_path)
    first.close()
    Store(tmp_path).close()
