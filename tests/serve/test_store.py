"""What is told has been written; what could not be written is told as such."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from pinxit.errors import PinxitError
from pinxit.serve import store as stores
from pinxit.serve.store import Kept, Record, Store


def record(name: str, owner: str = "", created: float = 1.0, prompt: str = "a") -> Record:
    return Record(name, owner, created, stores.QUEUED, {"prompt": prompt})


def test_jobs_are_somebodys_and_end_once(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        await asyncio.gather(*(store.do(stores.add(record(name, owner, k))) for k, (name, owner) in
                               enumerate([("1", "a"), ("2", "b"), ("3", "a")])))  # fmt: skip
        assert [one.id for one in await store.do(stores.listed("a", 1e9, 10))] == ["3", "1"]
        assert [one.id for one in await store.do(stores.listed("a", 2.0, 10))] == ["1"]
        assert await store.do(stores.one("b", "1")) is None
        assert await store.do(stores.begun("1")) == 1 and await store.do(stores.begun("1")) == 2
        assert await store.do(stores.finish("1", stores.DONE, [Kept("p", 0, 3, 7, 0.5, vector=b"v")]))
        assert not await store.do(stores.finish("1", stores.CANCELLED))
        assert await store.do(stores.begun("1")) == 0
        assert [one.id for one in await store.do(stores.unfinished)] == ["2", "3"]
        assert await store.do(stores.vectors("a")) == [("p", "1", b"v")] and await store.do(stores.vectors("b")) == []
        assert not await store.do(stores.star("b", "1", True, "p")) and await store.do(stores.star("a", "1", True, "p"))
        assert [one.id for one in await store.do(stores.listed("a", 1e9, 10, starred=True))] == ["1"]
        assert await store.do(stores.forget("b", "1")) is None and await store.do(stores.forget("a", "3")) is None
        assert await store.do(stores.forget("a", "1")) == ["p"]
        assert await store.do(stores.vectors("a")) == []
        store.close()

    asyncio.run(play())


def test_the_same_key_is_the_same_job_for_its_owner_alone(tmp_path: Path) -> None:
    async def play() -> list[str]:
        store = Store(tmp_path)
        asked = [(record("1", "a"), "k"), (record("2", "a"), "k"), (record("3", "b"), "k"), (record("4", "a"), None)]
        found = [(await store.do(stores.add(one, same))).id for one, same in asked]
        store.close()
        return found

    assert asyncio.run(play()) == ["1", "1", "3", "4"]


def test_one_error_of_a_group_is_its_own(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)

        def slow(base: sqlite3.Connection) -> None:
            time.sleep(0.05)

        calls = [slow, stores.add(record("1")), stores.add(record("1")), stores.add(record("2"))]
        found = await asyncio.gather(*(store.do(one) for one in calls), return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["NoneType", "Record", "IntegrityError", "Record"]
        store.close()
        again = Store(tmp_path)
        assert len(await again.do(stores.unfinished)) == 2
        again.close()

    asyncio.run(play())


def test_what_cannot_be_kept_is_said_and_the_store_goes_on(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        limit = store.base.execute("PRAGMA page_count").fetchone()[0]
        store.base.execute(f"PRAGMA max_page_count = {limit}")  # a full disk
        with pytest.raises(PinxitError, match="cannot be kept"):
            await store.do(stores.add(record("1", prompt="x" * 100_000)))
        store.base.execute("PRAGMA max_page_count = 100000")
        await store.do(stores.add(record("2")))
        assert [one.id for one in await store.do(stores.unfinished)] == ["2"]
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
