from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pinxit.data.shard_writer import SPAN, Form, write_shards
from pinxit.data.shards import ShardDataset
from pinxit.data.sources import open_source
from pinxit.errors import DataError, PinxitError, UsageError
from tests.data.helpers import Interrupted, Toy, encoded, full_disk, gradient, write_tar


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("form", ["png", "webp"])
def test_what_is_written_is_read_back_exactly(tmp_path: Path, form: Form) -> None:
    toy = Toy(25)
    written = write_shards(toy, tmp_path, None, 10, form, 1)
    assert (written.shards, written.items, len(written.problems)) == (3, 25, 0)
    dataset = open_source(str(tmp_path), 8)
    assert isinstance(dataset, ShardDataset) and len(dataset) == 25
    for index in (0, 9, 10, 24):
        example = dataset[index]
        assert np.array_equal(example.picture, toy.picture(index)), "lossless"
        assert example.captions == (f"toy {index}", f"第{index}个")


def test_the_files_follow_the_convention(tmp_path: Path) -> None:
    write_shards(Toy(3, with_facts=True), tmp_path, 2, 10, "png", 1)
    with tarfile.open(tmp_path / "00000.tar") as tar:
        names = tar.getnames()
        files = {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    keys = ["000000000", "000000001"]
    assert names == [f"{key}.{kind}" for key in keys for kind in ("png", "txt", "json")]
    assert files["000000001.txt"].decode() == "toy 1\n第1个"
    about = json.loads(files["000000001.json"])
    assert about["caption"] == "toy 1" and about["captions"] == ["toy 1", "第1个"]
    assert (about["width"], about["height"], about["source_key"]) == (8, 8, "toy-1")
    assert about["facts"] == {"number": 1, "places": [1, 2]}
    assert Image.open(io.BytesIO(files["000000001.png"])).size == (8, 8)


def test_pictures_are_not_buried_under_their_own_shards(tmp_path: Path) -> None:
    """Beside tars loose pictures cannot be named any more, so a killed command could not go on."""
    for name, content in {"cat.png": encoded(gradient(8, 8), "PNG"), "cat.txt": b"a cat"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path.parent / f"{tmp_path.name}-link").symlink_to(tmp_path)
    before = contents(tmp_path)
    for out in (tmp_path, tmp_path.parent / f"{tmp_path.name}-link"):
        with pytest.raises(UsageError, match="holds the pictures themselves: choose another folder"):
            write_shards(open_source(str(tmp_path), 8), out, workers=1)
    assert contents(tmp_path) == before
    assert write_shards(open_source(str(tmp_path), 8), tmp_path / "shards", workers=1).items == 1


@pytest.mark.parametrize(("workers", "kills"), [(1, False), (2, True)])
def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path, workers: int, kills: bool) -> None:
    broken = (3, 70)
    write_shards(Toy(5 * SPAN, broken=broken), tmp_path / "straight", None, SPAN, "png", 1)
    alarm = tmp_path / "alarm"
    alarm.touch()
    toy = Toy(5 * SPAN, 8, 0, broken, False, alarm, 3 * SPAN + 5, kills)
    with pytest.raises(PinxitError if kills else Interrupted):
        write_shards(toy, tmp_path / "out", None, SPAN, "png", workers)
    names = contents(tmp_path / "out").keys()
    assert "00003.tar" not in names and not [name for name in names if "part" in name], "no half shard"
    if workers == 1:
        assert "00002.tar" in names
    alarm.unlink()
    stamp = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    written = write_shards(toy, tmp_path / "out", None, SPAN, "png", workers)
    assert all(path.stat().st_mtime_ns == time for path, time in stamp.items()), "whole shards are left alone"
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")
    assert (written.items, [p.key for p in written.problems]) == (5 * SPAN - 2, ["toy-3", "toy-70"])


def test_a_full_disk_is_one_sentence_and_leaves_no_half_shard(tmp_path: Path) -> None:
    with full_disk(5000), pytest.raises(PinxitError, match=r"cannot write .*00000\.tar"):
        write_shards(Toy(50), tmp_path, None, 50, "png", 1)
    assert contents(tmp_path).keys() == {"shards.json"}
    assert write_shards(Toy(50), tmp_path, None, 50, "png", 1).items == 50


def test_broken_items_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written = write_shards(Toy(5, broken=(0, 4)), tmp_path, None, 3, "png", 1)
    assert written.items == 3 and "skipped 2: toy-0 (is truncated), toy-4" in caplog.text
    dataset = ShardDataset(sorted(tmp_path.glob("*.tar")), 8)
    assert [dataset[index].captions[0] for index in range(len(dataset))] == ["toy 1", "toy 2", "toy 3"]


def test_captions_of_several_lines_stay_one_caption(tmp_path: Path) -> None:
    from pinxit.types import Example

    class MappedLines(Toy):
        def __getitem__(self, index: int) -> Example:
            return Example(self.picture(0), ("one\ncaption", "two"), "key")

    write_shards(MappedLines(1), tmp_path, None, 1, "png", 1)
    assert ShardDataset([tmp_path / "00000.tar"], 8)[0].captions == ("one caption", "two")


def test_other_data_is_refused(tmp_path: Path) -> None:
    write_shards(Toy(5), tmp_path / "out", None, 5, "png", 1)
    with pytest.raises(DataError, match=r"shards of other data: source\.seed is 0 there and 1 here"):
        write_shards(Toy(5, seed=1), tmp_path / "out", None, 5, "png", 1)
    with pytest.raises(DataError, match="per_shard is 5 there and 4 here"):
        write_shards(Toy(5), tmp_path / "out", None, 4, "png", 1)
    (tmp_path / "foreign").mkdir()
    write_tar(tmp_path / "foreign" / "00000.tar", {"a.txt": b"a"})
    with pytest.raises(DataError, match="pinxit did not write"):
        write_shards(Toy(5), tmp_path / "foreign", None, 5, "png", 1)


@pytest.mark.parametrize("numbers", [(0, 5), (5, 0)])
def test_numbers_out_of_range_are_refused(tmp_path: Path, numbers: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        write_shards(Toy(5), tmp_path, *numbers, "png", 1)


def test_progress_counts_items(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_shards(Toy(10), tmp_path, None, 4, "png", 1, lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]
