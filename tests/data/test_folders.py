from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pinxit.data.bank import build_bank
from pinxit.data.folders import FolderDataset
from pinxit.data.identity import differences
from pinxit.data.problems import ItemError, Problem, Problems, usable_items
from pinxit.errors import DataError
from tests.data.helpers import encoded, gradient

PNG = encoded(gradient(16, 16), "PNG")


def put(folder: Path, **files: bytes) -> None:
    """Write files whose names are given with double underscores for dots and slashes as in `sub__a_png`."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def problems(dataset: FolderDataset) -> list[tuple[str, str]]:
    return [(problem.key, problem.reason) for problem in dataset.problems]


def test_pictures_are_found_at_any_depth_in_the_order_of_their_paths(tmp_path: Path) -> None:
    put(tmp_path, b_png=PNG, b_txt=b"bee", sub__a_webp=encoded(gradient(8, 16), "WEBP"), sub__a_txt=b"ay", a_JPG=PNG)
    put(tmp_path, a_txt="Zwei\n\n 一只猫 \r\nthird".encode())
    dataset = FolderDataset(tmp_path, 8)
    assert [dataset[i].key for i in range(len(dataset))] == ["a.JPG", "b.png", str(Path("sub/a.webp"))]
    assert dataset[0].captions == ("Zwei", "一只猫", "third")
    assert dataset[1].picture.shape == (8, 8, 3) and dataset[1].facts is None
    assert not dataset.problems


def test_names_alone_show_what_cannot_be_used(tmp_path: Path) -> None:
    put(tmp_path, a_png=PNG, a_txt=b"a", lonely_png=PNG, orphan_txt=b"no picture", c_tiff=PNG, c_txt=b"c")
    put(tmp_path, notes_md=b"not our business", _hidden_png=PNG)
    dataset = FolderDataset(tmp_path, 8)
    assert len(dataset) == 1
    assert sorted(problems(dataset)) == [
        ("c.tiff", ".tiff pictures are not read"),
        ("lonely.png", "has no caption"),
        ("orphan.txt", "is a caption without a picture"),
    ]


def test_broken_files_are_named_when_they_are_read(tmp_path: Path) -> None:
    put(tmp_path, a_png=PNG, a_txt=b"fine", b_png=PNG[:50], b_txt=b"cut", c_png=b"", c_txt=b"nothing")
    put(tmp_path, d_png=PNG, d_txt=b"\xff\xfe\x00a", e_png=PNG, e_txt=b" \n ", f_png=b"<html>", f_txt=b"page")
    put(tmp_path, g_png=PNG, g_txt=b"\xef\xbb\xbfwith a byte order mark")
    dataset = FolderDataset(tmp_path, 8)
    assert len(dataset) == 7
    found = Problems()
    kept = list(usable_items(dataset, range(7), found))
    assert [example.captions[0] for example in kept] == ["fine", "with a byte order mark"]
    told = {problem.key: problem.reason for problem in found}
    assert told.keys() == {"b.png", "c.png", "d.png", "e.png", "f.png"}
    assert told["c.png"] == "is empty" and "UTF-8" in told["d.png"] and "caption is empty" in told["e.png"]
    assert "truncated" in told["b.png"] and "not a picture" in told["f.png"]


def test_a_file_that_vanishes_is_an_item_error(tmp_path: Path) -> None:
    put(tmp_path, a_png=PNG, a_txt=b"a")
    dataset = FolderDataset(tmp_path, 8)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ItemError, match=r"a\.png: cannot be read"):
        dataset[0]


def test_an_empty_folder_is_refused_with_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture with a caption"):
        FolderDataset(tmp_path, 8)
    put(tmp_path, a_png=PNG)
    with pytest.raises(DataError, match=r"skipped 1: a\.png \(has no caption\)"):
        FolderDataset(tmp_path, 8)


def test_identity_follows_names_and_sizes_but_not_the_place(tmp_path: Path) -> None:
    identities = []
    for name, text in (("one", b"cat"), ("two", b"cat"), ("three", b"longer")):
        put(tmp_path / name, a_png=PNG, a_txt=text)
        identities.append(FolderDataset(tmp_path / name, 8).identity())
    assert identities[0] == identities[1] != identities[2]


def test_an_unreadable_file_costs_its_item_alone(tmp_path: Path) -> None:
    put(tmp_path / "data", a_png=PNG, a_txt=b"a", b_txt=b"b", c_png=PNG)
    (tmp_path / "data" / "b.png").symlink_to("nowhere.png")
    (tmp_path / "data" / "c.txt").symlink_to("nowhere.txt")
    bank = build_bank(FolderDataset(tmp_path / "data", 8), None, tmp_path / "bank", workers=1)
    assert bank.captions[:] == [("a",)] and {problem.key for problem in bank.problems} == {"b.png", "c.png"}
    put(tmp_path / "data", nowhere_png=PNG)
    with pytest.raises(DataError, match="other data"):
        build_bank(FolderDataset(tmp_path / "data", 8), None, tmp_path / "bank", workers=1)


def test_items_never_change(tmp_path: Path) -> None:
    put(tmp_path, a_jpg=encoded(gradient(500, 300), "JPEG"), a_txt=b"a")
    dataset = FolderDataset(tmp_path, 32)
    assert np.array_equal(dataset[0].picture, FolderDataset(tmp_path, 32)[0].picture)


def test_a_report_names_some_and_counts_all() -> None:
    many = Problems(Problem(f"{i}.png", "is empty") for i in range(12))
    assert many.report(named=2) == "skipped 12: 0.png (is empty), 1.png (is empty) and 10 more."
    assert Problems().report() == ""
    odd = Problems([Problem("caf\udce9\n\x1b[2J.png", "is empty")])
    assert odd.report() == r"skipped 1: caf\xe9\n\x1b[2J.png (is empty)."


def test_a_report_reaches_stderr_unless_logging_is_set_up(caplog: pytest.LogCaptureFixture) -> None:
    Problems().log()
    assert not caplog.messages
    Problems([Problem("a.png", "is empty")]).log()
    assert caplog.messages == ["skipped 1: a.png (is empty)."]


@pytest.mark.parametrize("caption", ["IMG_1.TXT", "IMG_1.Txt", "IMG_1.txt"])
@pytest.mark.parametrize("picture", ["IMG_1.PNG", "IMG_1.png"])
def test_names_as_cameras_write_them(tmp_path: Path, caption: str, picture: str) -> None:
    (tmp_path / picture).write_bytes(PNG)
    (tmp_path / caption).write_bytes(b"a fox")
    dataset = FolderDataset(tmp_path, 8)
    assert dataset[0].captions == ("a fox",) and not dataset.problems


def test_a_second_caption_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    for name in ("a.txt", "a.TXT"):
        (tmp_path / name).write_text(name)
    dataset = FolderDataset(tmp_path, 8)
    assert len(dataset) == 1 and problems(dataset) == [("a.txt", "is a second caption file of its picture")]


def test_any_change_changes_what_the_folder_is(tmp_path: Path) -> None:
    put(tmp_path, a_png=PNG, a_txt=b"a red fox")
    before = FolderDataset(tmp_path, 8).identity()
    assert FolderDataset(tmp_path, 8).identity() == before
    seen = [before["content"]]
    for name, content in (("a_txt", b"a big fox"), ("a_png", PNG[:-20] + b"x" + PNG[-19:]), ("b_png", PNG)):
        put(tmp_path, **{name: content})
        if name == "b_png":
            put(tmp_path, b_txt=b"")
        seen.append(FolderDataset(tmp_path, 8).identity()["content"])
    assert len(set(seen)) == 4


def test_what_an_older_pinxit_noted_is_still_the_same_data(tmp_path: Path) -> None:
    """Banks and shards made before contents were noted open as they did, and sizes are compared as they were."""
    put(tmp_path, a_png=PNG, a_txt=b"a red fox")
    now = {"source": FolderDataset(tmp_path, 8).identity()}
    old = {"source": {name: value for name, value in now["source"].items() if name != "content"}}
    assert differences(old, now) == ""
    put(tmp_path, a_txt=b"a red squirrel")
    assert "source.files is" in differences(old, {"source": FolderDataset(tmp_path, 8).identity()})
