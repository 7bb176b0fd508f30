from __future__ import annotations

import io
import json
import mmap
import os
import pickle
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pinxit.data import shards
from pinxit.data.folders import FolderDataset
from pinxit.data.problems import ItemError, Problems, usable_items
from pinxit.data.shards import ShardDataset
from pinxit.errors import DataError
from pinxit.types import Dataset
from tests.data.helpers import encoded, gradient, write_tar

JPG = encoded(gradient(20, 30), "JPEG")
PNG = encoded(gradient(16, 16), "PNG")


def as_img2dataset(count: int, first: int = 0) -> dict[str, bytes]:
    """Files named and filled as img2dataset does: nine-digit keys, json beside txt."""
    files: dict[str, bytes] = {}
    for number in range(first, first + count):
        key, caption = f"{number:09d}", f"picture {number}"
        about = {"caption": caption, "url": "http://x/y.jpg", "key": key, "status": "success", "error_message": None}
        files |= {f"{key}.jpg": JPG, f"{key}.json": json.dumps(about).encode(), f"{key}.txt": caption.encode()}
    return files


def test_items_of_several_tars_stand_in_a_row(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", as_img2dataset(3), tarfile.PAX_FORMAT, 1.5)
    write_tar(tmp_path / "00001.tar", as_img2dataset(2, first=10))
    dataset = ShardDataset([tmp_path / "00000.tar", tmp_path / "00001.tar"], 16)
    assert len(dataset) == 5 and not dataset.problems
    found = [dataset[i] for i in (4, 0, 3, 2)]
    assert [example.captions for example in found] == [(f"picture {n}",) for n in (11, 0, 10, 2)]
    assert found[0].key == "00001.tar/000000011" and found[0].picture.shape == (16, 16, 3)
    for outside in (-1, 5):
        with pytest.raises(IndexError):
            dataset[outside]


def test_captions_come_from_txt_or_else_from_json(tmp_path: Path) -> None:
    files = {
        "a.png": PNG,
        "a.txt": "one\ntwo 猫\n".encode(),
        "a.json": b'{"caption": "not me"}',
        "b.webp": encoded(gradient(8, 8), "WEBP"),
        "b.json": b'{"caption": "from json"}',
        "c.PNG": PNG,
        "c.json": b'{"caption": "first", "captions": ["first", " ", "second \\ud83d"]}',
        "d.png": PNG,
        "d.json": b'{"caption": ["x", "y"]}',
    }
    write_tar(tmp_path / "a.tar", files)
    dataset = ShardDataset([tmp_path / "a.tar"], 8)
    assert [example.captions for example in map(dataset.__getitem__, range(4))] == [
        ("one", "two 猫"),
        ("from json",),
        ("first", "second ?"),
        ("x", "y"),
    ]


def test_parts_of_an_item_need_not_be_neighbours(tmp_path: Path) -> None:
    files = {
        "sub/a.x.png": b"mask",
        "sub/a.txt": b"A",
        "b.txt": b"B",
        "sub/a.png": PNG,
        "b.png": PNG,
        "sub/a.cls": b"7",
    }
    write_tar(tmp_path / "a.tar", files)
    dataset = ShardDataset([tmp_path / "a.tar"], 8)
    assert [dataset[i].key for i in range(2)] == ["a.tar/sub/a", "a.tar/b"]
    assert dataset[1].captions == ("B",)


def test_what_the_index_shows_to_be_unusable_is_reported(tmp_path: Path) -> None:
    files = {"a.png": PNG, "a.txt": b"a", "b.png": PNG, "c.txt": b"c", "d.tiff": b"", "d.txt": b"d", "._a.png": b"mac"}
    write_tar(tmp_path / "a.tar", files)
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    dataset = ShardDataset([tmp_path / "a.tar"], 8)
    assert len(dataset) == 1
    assert {(p.key, p.reason) for p in dataset.problems} == {
        ("a.tar/b", "has no caption"),
        ("a.tar/c", "is a caption without a picture"),
        ("a.tar/d", "is a caption without a picture"),
        ("a.tar/d.tiff", ".tiff pictures are not read"),
        ("a.tar/a.png", "occurs twice in its tar"),
    }
    assert dataset[0].picture.shape == (8, 8, 3)


def test_broken_items_are_named_when_they_are_read(tmp_path: Path) -> None:
    files = {"a.png": PNG, "a.txt": b"a", "b.png": PNG[:60], "b.txt": b"b", "c.png": PNG, "c.txt": b"\xff"}
    files |= {"d.png": PNG, "d.json": b'{"caption": null}', "e.png": PNG, "e.json": b"{", "f.png": PNG, "f.json": b"[]"}
    files |= {"g.png": PNG, "g.txt": "a cat".encode("utf-16-be"), "h.png": PNG, "h.json": b'{"caption": "a\\u0000"}'}
    write_tar(tmp_path / "a.tar", files)
    dataset = ShardDataset([tmp_path / "a.tar"], 8)
    found = Problems()
    assert [example.captions for example in usable_items(dataset, range(8), found)] == [("a",)]
    told = {problem.key: problem.reason for problem in found}
    assert told.keys() == {f"a.tar/{key}" for key in "bcdefgh"}
    assert "as UTF-16 does" in told["a.tar/g"] and "holds NUL" in told["a.tar/h"]
    assert "not UTF-8" in told["a.tar/c"] and "caption is empty" in told["a.tar/d"] and "not JSON" in told["a.tar/e"]


def test_broken_tars_are_told_and_the_rest_is_used(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", as_img2dataset(4))
    cut = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "1.tar").write_bytes(cut[: 3 * len(as_img2dataset(1)) * 512 + 2048])
    (tmp_path / "2.tar").write_bytes(b"hello" * 200)
    dataset = ShardDataset([tmp_path / f"{i}.tar" for i in range(3)], 8)
    assert 4 <= len(dataset) < 8
    told = dataset.problems.report()
    assert "1.tar (is truncated" in told and "2.tar (is not a tar)" in told


def test_nothing_left_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar").write_bytes(b"hello" * 200)
    monkeypatch.chdir(tmp_path)
    for path in ("a.tar", tmp_path / "a.tar"):
        with pytest.raises(
            DataError, match=r"no picture with a caption in .*a\.tar; skipped 1: .*a\.tar \(is not a tar"
        ):
            ShardDataset([path], 8)


def test_only_so_many_tars_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "OPEN_SHARDS", 2)
    paths = [tmp_path / f"{i}.tar" for i in range(5)]
    for number, path in enumerate(paths):
        write_tar(path, as_img2dataset(1, first=number))
    dataset = ShardDataset(paths, 8)
    for number in (0, 1, 2, 3, 4, 0, 4, 2):
        assert dataset[number].captions == (f"picture {number}",)
        assert len(dataset._open) <= 2


def test_threads_share_the_open_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is through with a tar closes none that another one is reading."""
    monkeypatch.setattr(shards, "OPEN_SHARDS", 1)
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", as_img2dataset(1, first=number))
    dataset = ShardDataset(sorted(tmp_path.glob("*.tar")), 8)
    maps, done = dataset._map, threading.Event()

    def slow(number: int) -> mmap.mmap:
        found = maps(number)
        if number == 0:  # the other thread would open its tar now, for which this one would be closed
            done.wait(0.05)
        return found

    monkeypatch.setattr(dataset, "_map", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(dataset.__getitem__, 0)
        second = pool.submit(dataset.__getitem__, 1)
        second.add_done_callback(lambda _: done.set())
        assert [first.result().captions, second.result().captions] == [("picture 0",), ("picture 1",)]


def test_a_dataset_travels_to_other_processes(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", as_img2dataset(2))
    dataset = ShardDataset([tmp_path / "a.tar"], 8)
    before = dataset[1]
    after = pickle.loads(pickle.dumps(dataset))[1]
    assert np.array_equal(before.picture, after.picture) and before.captions == after.captions


def test_a_tar_that_vanishes_is_an_item_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", as_img2dataset(1))
    dataset = ShardDataset([tmp_path / "a.tar"], 8)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(ItemError, match=r"a\.tar: cannot be read any more"):
        dataset[0]


def test_identity_follows_the_content_of_the_index(tmp_path: Path) -> None:
    for name, count in (("one", 2), ("two", 2), ("three", 3)):
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / "a.tar", as_img2dataset(count))
    one, two, three = (ShardDataset([tmp_path / name / "a.tar"], 8).identity() for name in ("one", "two", "three"))
    assert one == two != three


@pytest.mark.parametrize("stem", ["v1.5 b", "a.b.c", "2024.01.02-x", "s0.input"])
@pytest.mark.parametrize("suffix", [".jpg", ".PNG", ".webp"])
def test_no_picture_is_left_out_for_its_dots(tmp_path: Path, stem: str, suffix: str) -> None:
    picture = encoded(gradient(8, 8), {".jpg": "JPEG", ".PNG": "PNG", ".webp": "WEBP"}[suffix])
    write_tar(tmp_path / "a.tar", {f"{stem}{suffix}": picture, f"{stem}.txt": b"it", "c.png": picture, "c.txt": b"c"})
    dataset = ShardDataset([tmp_path / "a.tar"], 8)
    assert [dataset[i].captions for i in range(len(dataset))] == [("it",), ("c",)] and not dataset.problems


def test_names_that_are_not_utf8_are_told_apart(tmp_path: Path) -> None:
    picture, path = encoded(gradient(8, 8), "PNG"), tmp_path / os.fsdecode(b"\xe9.tar")
    with tarfile.open(
        path, "w", format=tarfile.USTAR_FORMAT, encoding="latin-1"
    ) as tar:  # "é" and "è" are one byte each, which is no UTF-8
        for name, content in {"é.png": picture, "é.txt": b"acute", "è.txt": b"grave", "è.png": picture}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    dataset = ShardDataset([path], 8)
    assert [dataset[i].captions for i in range(len(dataset))] == [("acute",), ("grave",)] and not dataset.problems
    assert dataset[0].key == "\udce9.tar/\udce9" and dataset.identity()["items"] == 2


def test_parts_that_no_key_joins_are_reported(tmp_path: Path) -> None:
    picture = encoded(gradient(8, 8), "PNG")
    files = {"s0.input.png": picture, "s0.output.txt": b"it", "c.png": picture, "c.txt": b"c", "c.cls": b"4"}
    write_tar(tmp_path / "a.tar", files)
    told = [(problem.key, problem.reason) for problem in ShardDataset([tmp_path / "a.tar"], 8).problems]
    assert told == [("a.tar/s0.input", "has no caption"), ("a.tar/s0.output", "is a caption without a picture")]


@pytest.mark.parametrize("opened", [lambda: ShardDataset(["a.tar"], 8), lambda: FolderDataset("loose", 8)])
def test_a_programs_change_of_directory_changes_no_dataset(
    opened: Callable[[], Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "a.tar", as_img2dataset(1))
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose/a.jpg").write_bytes(JPG)
    (tmp_path / "loose/a.txt").write_text("picture 0")
    monkeypatch.chdir(tmp_path)
    dataset = opened()
    monkeypatch.chdir("/")
    assert dataset[0].captions == ("picture 0",)
