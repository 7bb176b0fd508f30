"""Folders behind links and folders that cannot be listed: no picture is dropped in silence, none is there twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pinxit.data.folders import FolderDataset
from pinxit.data.picture_files import picture_files
from pinxit.data.problems import Problems, usable_items
from pinxit.data.shards import ShardDataset
from tests.data.helpers import encoded, gradient, write_tar
from tests.pipes import pipe

PNG = encoded(gradient(8, 8), "PNG")


def pair(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(PNG)
    (folder / f"{name}.txt").write_text(name)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder of a, sub/b, and links: to a folder elsewhere with c, to itself, into itself, to what is around it."""
    folder = tmp_path / "around" / "mine"
    pair(folder, "a")
    pair(folder / "sub", "b")
    pair(tmp_path / "elsewhere", "c")
    pair(tmp_path / "around", "d")
    targets = {"far": tmp_path / "elsewhere", "me": folder, "again": folder / "sub", "up": tmp_path / "around"}
    for name, target in targets.items():
        (folder / name).symlink_to(target)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "around")
    return folder


def test_what_links_lead_to_is_there_once(linked: Path) -> None:
    dataset = FolderDataset(linked, 8)
    names = sorted(Path(dataset[i].key).name for i in range(len(dataset)))
    assert names == ["a.png", "b.png", "c.png", "d.png"] and not dataset.problems
    assert sorted(path.name for path in picture_files([linked])) == names
    assert {"a.png", str(Path("sub/b.png"))} < {dataset[i].key for i in range(len(dataset))}, "their own paths"


def test_a_link_to_what_is_hidden_is_followed(linked: Path) -> None:
    pair(linked / ".store" / "e", "e")
    (linked / "shown").symlink_to(linked / ".store" / "e")
    assert str(Path("shown/e.png")) in [FolderDataset(linked, 8)[i].key for i in range(len(FolderDataset(linked, 8)))]


def test_only_files_are_pictures(linked: Path) -> None:
    (linked / "folder.png").mkdir()
    assert "folder.png" not in [path.name for path in picture_files([linked])]


def test_a_folder_that_cannot_be_listed_is_named(
    linked: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listed = os.scandir

    def scandir(place: Any) -> Any:
        if Path(place).name == "sub":
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [(one.key, one.reason) for one in FolderDataset(linked, 8).problems] == [
        ("sub", "cannot be listed (Permission denied)")
    ]
    assert len(picture_files([linked])) == 3
    assert f"{linked / 'sub'} (cannot be listed: Permission denied)" in caplog.text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_among_the_files_are_named_and_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b", "c"):
        pair(tmp_path, name)
    for name in ("b.png", "c.txt"):
        (tmp_path / name).unlink()
        pipe(tmp_path / name)
    dataset, problems = FolderDataset(tmp_path, 8), Problems()
    assert dataset.identity()["items"] == 3
    assert [one.key for one in usable_items(dataset, range(3), problems)] == ["a.png"]
    assert {one.key: one.reason for one in problems} == dict.fromkeys(
        ("b.png", "c.png"), "cannot be read (is no plain file)"
    )
    assert [path.name for path in picture_files([tmp_path])] == ["a.png", "c.png"]
    assert "b.png (is no plain file)" in caplog.text
    write_tar(tmp_path / "0.tar", {"a.png": PNG, "a.txt": b"a"})
    shards = ShardDataset([tmp_path / "0.tar", pipe(tmp_path / "1.tar")], 8)
    assert len(shards) == 1 and "1.tar (cannot be read (is no plain file))" in shards.problems.report()
