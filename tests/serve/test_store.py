"""What is told has been written; what could not be written is told as such."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pinxit.errors import PinxitError
from pinxit.serve import records
from pinxit.serve import store as stores
from pinxit.serve.records import Record, StoredPicture
from pinxit.serve.store import Store
from pinxit.serve.url_files import UrlFiles


def record(name: str, owner: str = "", created: float = 1.0, prompt: str = "a") -> Record:
    return Record(name, owner, created, records.QUEUED, {"prompt": prompt})


def test_jobs_are_somebodys_and_end_once(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        await asyncio.gather(*(store.do(records.add([record(name, owner, k)])) for k, (name, owner) in
                               enumerate([("1", "a"), ("2", "b"), ("3", "a")])))  # fmt: skip
        assert [one.id for one in await store.do(records.list_jobs("a", 1e9, 10))] == ["3", "1"]
        assert [one.id for one in await store.do(records.list_jobs("a", 2.0, 10))] == ["1"]
        assert await store.do(records.one("b", "1")) is None
        assert await store.do(records.count_attempt("1")) == 1 and await store.do(records.count_attempt("1")) == 2
        row = np.ones(1, "<f4")
        assert await store.do(
            records.finish("1", records.DONE, [StoredPicture("p", 0, 3, 7, 0.5, 0, row.tobytes(), "c")])
        )
        assert not await store.do(records.finish("1", records.CANCELLED))
        assert await store.do(records.count_attempt("1")) == 0
        assert [one.id for one in await store.do(records.unfinished)] == ["2", "3"]
        assert await store.do(records.nearest("a", "c", row, 9)) == [("p", "1", 1.0)]
        assert await store.do(records.nearest("b", "c", row, 9)) == []
        assert not await store.do(records.star("b", "1", True, "p")) and await store.do(
            records.star("a", "1", True, "p")
        )
        assert [one.id for one in await store.do(records.list_jobs("a", 1e9, 10, starred=True))] == ["1"]
        assert await store.do(records.delete("b", "1")) is None and await store.do(records.delete("a", "3")) is None
        assert await store.do(records.delete("a", "1")) == ["p"]
        assert await store.do(records.nearest("a", "c", row, 9)) == []
        store.close()

    asyncio.run(play())


def test_words_are_found_in_any_case_of_any_script(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        prompts = {"1": "ein Ölgemälde", "2": "КРАСНЫЙ куб", "3": "三个绿色的三角形", "4": "a red cube"}
        for name, prompt in prompts.items():
            await store.do(records.add([record(name, "a", prompt=prompt)]))
        for words, name in (("ÖLGEMÄLDE", "1"), ("красный", "2"), ("绿色", "3"), ("RED", "4")):
            assert [one.id for one in await store.do(records.list_jobs("a", 1e9, 10, words))] == [name]
        store.close()

    asyncio.run(play())


def vectors(folder: Path, count: int, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Of pictures that are kept, each a job's."""
    rows = np.random.default_rng(count).normal(size=(count, width)).astype("<f4")

    async def play() -> None:
        store = Store(folder)
        await asyncio.gather(*(store.do(records.add([record(str(k))])) for k in range(count)))
        kept = [StoredPicture(f"p{k}", 0, 0, 0, 0.5, 0, row.tobytes(), "c") for k, row in enumerate(rows)]
        await asyncio.gather(*(store.do(records.finish(str(k), records.DONE, [one])) for k, one in enumerate(kept)))
        store.close()

    asyncio.run(play())
    return rows


def test_what_is_most_like_a_vector_is_found_however_much_there_is(tmp_path: Path) -> None:
    """Of all that is kept, in the order of all scores, of the same CLIP alone."""
    rows = vectors(tmp_path, 2 * records.CHUNK_ROWS + 5, 8)

    async def play() -> list[tuple[str, str, float]]:
        store = Store(tmp_path)
        strange = StoredPicture("strange", 0, 0, 0, 0.5, 0, bytes(32), "another CLIP of equal width")
        await store.do(records.add([record("other")]))
        await store.do(records.finish("other", records.DONE, [strange, StoredPicture("blind", 1, 0, 0, 0.5)]))
        found = await store.do(records.nearest("", "c", rows[3], 7))
        store.close()
        return found

    found, best = asyncio.run(play()), np.argsort(-(rows @ rows[3]), kind="stable")[:7]
    assert [(name, job) for name, job, _ in found] == [(f"p{k}", str(k)) for k in best]
    np.testing.assert_allclose([score for _, _, score in found], (rows @ rows[3])[best], rtol=1e-5)


def test_pictures_of_an_earlier_version_are_to_be_embedded(tmp_path: Path) -> None:
    vectors(tmp_path, 3, 8)
    with sqlite3.connect(tmp_path / "jobs.sqlite") as db:
        db.execute("ALTER TABLE pictures DROP COLUMN clip")
    db.close()

    async def play() -> None:
        store = Store(tmp_path)
        assert await store.do(records.not_embedded("c", "", 2)) == ["p0", "p1"]
        assert await store.do(records.not_embedded("c", "p1", 2)) == ["p2"]
        await store.do(records.embed("c", {"p1": bytes(32), "deleted": bytes(32)}))
        assert await store.do(records.not_embedded("c", "", 9)) == ["p0", "p2"]
        assert await store.do(records.nearest("", "c", np.ones(8, np.float32), 9)) == [("p1", "1", 0.0)]
        store.close()

    asyncio.run(play())


def test_a_search_takes_no_more_memory_where_more_is_kept(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        rows = vectors(tmp_path / str(count), count, 512)
        base = sqlite3.connect(tmp_path / str(count) / "jobs.sqlite")
        call = records.nearest("", "c", rows[0], 5)
        call(base)
        tracemalloc.start()
        try:
            call(base)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            base.close()

    assert peak(6 * records.CHUNK_ROWS) < 1.2 * peak(2 * records.CHUNK_ROWS)


def test_files_go_when_nobody_has_them_any_more(tmp_path: Path) -> None:
    """What a job began from, too, unless it is another's: that of a comparison, or a picture that one job made."""

    async def play() -> list[list[str] | None]:
        store = Store(tmp_path)
        made = {"prompt": "a", "image": None}
        both = [replace(record(name), request=made | {"image": "sent", "mask": "m", "other": "p"}) for name in "bc"]
        await store.do(records.add([replace(record("a"), request=made), *both]))
        for name, picture in (("a", "p"), ("b", "of-b"), ("c", "of-c")):
            await store.do(records.finish(name, records.DONE, [StoredPicture(picture, 0, 0, 0, 0.5)]))
        assert await store.do(records.unused_pictures(["new", "sent", "p", "m", "of-b"])) == ["new"]
        found = [await store.do(records.delete("", name)) for name in "abc"]
        store.close()
        return found

    assert asyncio.run(play()) == [[], ["of-b"], ["m", "of-c", "p", "sent"]]


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
        with pytest.raises(PinxitError, match="UNIQUE"):
            await store.do(records.add([record("3", "a"), record("1", "a")], "other"))
        assert [one.id for one in await store.do(records.unfinished)] == ["1", "2"]
        assert [one.id for one in await store.do(records.jobs_of_key("a", "k"))] == ["1", "2"]
        for owner, key in (("b", "k"), ("a", "k/0"), ("a", "other"), ("a", "")):
            assert await store.do(records.jobs_of_key(owner, key)) == []
        store.close()

    asyncio.run(play())


def test_one_error_of_a_group_is_its_own(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)

        def slow(base: sqlite3.Connection) -> None:
            time.sleep(0.05)

        calls = [slow, records.add([record("1")]), records.add([record("1")]), records.add([record("2")])]
        found = await asyncio.gather(*(store.do(one) for one in calls), return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["NoneType", "list", "PinxitError", "list"]
        store.close()
        again = Store(tmp_path)
        assert len(await again.do(records.unfinished)) == 2
        again.close()

    asyncio.run(play())


def test_what_cannot_be_kept_is_said_and_the_store_goes_on(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        limit = store.db.execute("PRAGMA page_count").fetchone()[0]
        store.db.execute(f"PRAGMA max_page_count = {limit}")  # a full disk
        with pytest.raises(PinxitError, match="cannot be stored"):
            await store.do(records.add([record("1", prompt="x" * 100_000)]))
        store.db.execute("PRAGMA max_page_count = 100000")
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
    with pytest.raises(PinxitError, match="cannot store jobs"):
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
    url_files = UrlFiles(tmp_path / "urls", 60)
    old, new = url_files.put(b"1", "png"), url_files.put(b"2", "png")
    left, young = (
        tmp_path / "urls" / f".{name}.1-2-3.part" for name in (old, new)
    )  # by a killed process; half-written
    young.write_bytes(b"x")
    others = [tmp_path / "urls" / name for name in (".holiday.png.1-2-3.part", "holiday.png")]  # somebody's
    for path in (*others, left, tmp_path / "urls" / old):
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    (tmp_path / "urls" / "folder").mkdir()
    os.utime(tmp_path / "urls" / "folder", (0, 0))
    (tmp_path / "urls" / ".a.part").symlink_to(tmp_path / "gone")  # as of a file that is renamed meanwhile
    url_files.sweep()
    assert url_files.read(old) is None and not (tmp_path / "urls" / old).exists()
    assert (held := url_files.read(new)) is not None and held[0] == b"2"
    assert all(path.exists() for path in (*others, young)) and not left.exists()


def test_a_picture_that_is_swept_while_it_is_asked_for_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url_files = UrlFiles(tmp_path, 60)
    name = url_files.put(b"1", "png")

    def swept() -> float:
        (tmp_path / name).unlink()
        return 0.0

    monkeypatch.setattr("pinxit.serve.url_files.time.time", swept)
    assert url_files.read(name) is None


def test_a_folder_is_one_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.1)
    first = Store(tmp_path)
    with pytest.raises(PinxitError, match="another server uses it"):
        Store(tmp_path)
    first.close()
    Store(tmp_path).close()
