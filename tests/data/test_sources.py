from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pinxit.data.bank import Bank, build_bank
from pinxit.data.check import check
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_cache import shards_of
from pinxit.data.shards import ShardDataset
from pinxit.data.sources import open_source, open_training
from pinxit.errors import DataError, UsageError
from tests.data.helpers import Toy, encoded, gradient, write_tar

PNG = encoded(gradient(16, 16), "PNG")


def shard(path: Path, items: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tar(path, {f"{i}.{kind}": content for i in range(items) for kind, content in (("png", PNG), ("txt", b"a"))})


def test_the_world_is_opened_with_its_options() -> None:
    from pinxit.world import World

    world = open_source("world:small", 32, "unseen", language="en", seed=5, group=4)
    assert world == World(preset="small", split="unseen", language="en", seed=5, size=32, group=4)
    example = world[0]
    assert example.picture.shape == (32, 32, 3) and example.captions
    assert world == World(split="unseen", language="en", seed=np.int64(5), size=np.int32(32), group=np.int64(4))  # type: ignore[arg-type]


def test_a_training_run_with_another_seed_sees_other_scenes_of_the_world(tmp_path: Path) -> None:
    from pinxit.world import World

    assert open_training("world:small", 32, 7, group=4) == World(preset="small", seed=7, size=32, group=4)
    first, second = (open_training("world:small", 32, seed)[0].captions for seed in (0, 1))
    assert first != second
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.txt").write_text("a")
    assert isinstance(open_training(str(tmp_path), 8, 7), FolderDataset)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.txt").write_text("a")
    dataset = open_source(tmp_path, 8)  # also a path
    assert isinstance(dataset, FolderDataset) and dataset[0].picture.shape == (8, 8, 3)


@pytest.mark.parametrize("pattern", ["", "/0{0..2}.tar", "/0?.tar", "/*.tar", "/0{0,1,2}.tar", "/{00..01}.{tar,tar}"])
def test_tars_by_folder_and_pattern(tmp_path: Path, pattern: str) -> None:
    for number in range(3):
        shard(tmp_path / f"0{number}.tar", number + 1)
    dataset = open_source(f"{tmp_path}{pattern}", 8)
    assert isinstance(dataset, ShardDataset) and len(dataset) == 6


def test_ranges_keep_their_zeros(tmp_path: Path) -> None:
    for number in (8, 9, 10, 11):
        shard(tmp_path / f"{number:05d}.tar")
    assert len(open_source(f"{tmp_path}/{{00008..00010}}.tar", 8)) == 3
    with pytest.raises(DataError, match=r"no file or folder .*00012\.tar"):
        open_source(f"{tmp_path}/{{00010..00012}}.tar", 8)


@pytest.mark.parametrize("name", ["data[1].tar", "data{1,2}.tar", "*.tar", "~no-one.tar", "A.TAR"])
def test_a_file_whose_name_looks_like_something_else_is_itself(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shard(tmp_path / name, 2)
    shard(tmp_path / "other.tar", 1)
    assert len(open_source(name, 8)) == 2 and shards_of(name) == [name]
    assert len(open_source(".", 8)) == 3 and len(shards_of(".")) == 2


def test_a_pattern_may_be_longer_than_a_name(tmp_path: Path) -> None:
    shard(tmp_path / "7.tar")
    pattern = f"{tmp_path}/{{{','.join(['7'] * 300)}}}.tar"
    assert len(open_source(pattern, 8)) == 300 == len(shards_of(pattern))


def test_one_tar(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", 2)
    assert len(open_source(str(tmp_path / "a.tar"), 8)) == 2


def test_a_bank_is_a_source_of_its_own_size(tmp_path: Path) -> None:
    build_bank(Toy(4), None, tmp_path, 1)
    assert isinstance(open_source(str(tmp_path), 8), Bank)
    with pytest.raises(DataError, match="8 pixels, not 16"):
        open_source(str(tmp_path), 16)


def test_tars_beside_loose_pictures_are_ambiguous(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar")
    (tmp_path / "b.png").write_bytes(PNG)
    with pytest.raises(DataError, match=r"loose pictures \(b\.png\)"):
        open_source(str(tmp_path), 8)
    assert len(open_source(f"{tmp_path}/*.tar", 8)) == 1


@pytest.mark.parametrize(
    ("spec", "size", "options", "message"),
    [
        ("world:huge", 8, {}, "huge"),
        ("world:small", 8, {"split": "dev"}, "dev"),
        ("world:small", 8, {"colour": 1}, "no option colour; it has language, seed, group, names and detail"),
        ("world:small", 0, {}, "from 1 to 8192 pixels"),
        ("some/folder", 8, {"split": "unseen"}, "only the world has splits"),
        ("some/folder", 8, {"language": "en"}, "only the world has language"),
    ],
)
def test_senseless_requests_are_usage_errors(spec: str, size: int, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(spec, size, **options)  # type: ignore[arg-type]


def test_missing_and_unknown_files_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder nowhere; a source is world:small"):
        open_source("nowhere", 8)
    with pytest.raises(DataError, match="no file or folder"):
        open_source(f"{tmp_path}/*.tar", 8)
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"is not a \.tar file"):
        open_source(str(tmp_path / "a.zip"), 8)


@pytest.mark.parametrize("workers", [1, 2])
def test_check_reads_everything_and_names_what_is_broken(tmp_path: Path, workers: int) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(PNG)
        (tmp_path / f"{name}.txt").write_text("one\ntwo")
    (tmp_path / "b.png").write_bytes(PNG[:60])
    (tmp_path / "d.png").write_bytes(PNG)
    seen: list[tuple[int, int]] = []
    found = check(open_source(str(tmp_path), 8), workers, lambda done, total: seen.append((done, total)))
    assert (found.usable, found.captions) == (2, 4)
    assert {problem.key for problem in found.problems} == {"b.png", "d.png"}
    assert seen == [(3, 3)]
