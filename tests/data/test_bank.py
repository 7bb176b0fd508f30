from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinxit.data import bank_builder
from pinxit.data.bank import Bank, build_bank
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_writer import write_shards
from pinxit.data.shards import ShardDataset
from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.types import Example
from tests.data.helpers import Interrupted, Toy, encoded, full_disk, gradient

BANK_FILES = ["bank.json", "captions.jsonl", "pictures.npy", "problems.jsonl"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def same(bank: Bank, toy: Toy, indices: list[int]) -> None:
    assert len(bank) == len(bank.captions) == len(indices)
    for place, index in enumerate(indices):
        assert np.array_equal(bank.pictures[place], toy.picture(index))
        assert bank.captions[place] == (f"toy {index}", f"第{index}个")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bank_holds_the_first_items_in_order(tmp_path: Path, workers: int) -> None:
    toy = Toy(200)
    bank = build_bank(toy, 150, tmp_path / "bank", workers)
    same(bank, toy, list(range(150)))
    assert bank.pictures.shape == (150, 8, 8, 3) and bank.pictures.dtype == np.uint8 and bank.size == 8
    assert sorted(contents(tmp_path / "bank")) == BANK_FILES, "nothing is left of the building"
    example = bank[7]
    assert example.captions == ("toy 7", "第7个") and example.facts is None and example.key == "bank/7"
    with pytest.raises(IndexError):
        bank[150]


def test_count_is_at_most_what_there_is(tmp_path: Path) -> None:
    assert len(build_bank(Toy(5), None, tmp_path / "a", 1)) == 5
    assert len(build_bank(Toy(5), 9, tmp_path / "b", 1)) == 5


def test_pictures_can_be_held_in_memory(tmp_path: Path) -> None:
    build_bank(Toy(5), None, tmp_path, 1)
    mapped, held = Bank.open(tmp_path), Bank.open(tmp_path, in_memory=True)
    assert isinstance(mapped.pictures, np.memmap) and not isinstance(held.pictures, np.memmap)
    assert np.array_equal(mapped.pictures, held.pictures)
    with pytest.raises(ValueError, match="read-only"):
        mapped.pictures[0] = 0


def test_facts_come_back_as_json_and_as_scenes(tmp_path: Path) -> None:
    from pinxit.world.scene import Item, Scene

    scene = Scene("pair", (Item("cat", "sprite", (0.0, 0.0, 0.5, 0.5), outfit=(("red", "hat"),)),), noise=3)

    class OneScene(Toy):
        def __getitem__(self, index: int) -> Example:
            return dataclasses.replace(super().__getitem__(index), facts=scene)

    bank = build_bank(OneScene(3), None, tmp_path / "scenes", 1)
    facts = bank.facts(2)
    assert facts is not None and facts["items"][0]["outfit"] == [["red", "hat"]]
    assert bank[2].facts == scene
    notes = build_bank(Toy(3, with_facts=True), None, tmp_path / "notes", 1)
    assert notes.facts(1) == {"number": 1, "places": [1, 2]}
    assert build_bank(Toy(3), None, tmp_path / "none", 1).facts(1) is None


def test_broken_items_are_skipped_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    toy = Toy(130, broken=(0, 2, 3, 129), with_facts=True)
    bank = build_bank(toy, None, tmp_path, 1)
    kept = [index for index in range(130) if index not in toy.broken]
    same(bank, toy, kept)
    assert [bank.facts(place) for place in (0, 125)] == [
        {"number": 1, "places": [1, 2]},
        {"number": 128, "places": [128, 129]},
    ]
    assert [problem.key for problem in bank.problems] == ["toy-0", "toy-2", "toy-3", "toy-129"]
    assert "skipped 4: toy-0 (is truncated)" in caplog.text


def test_a_user_s_folder_becomes_a_bank(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in "abcd":
        (pictures / f"{name}.png").write_bytes(encoded(gradient(10, 12), "PNG"))
        (pictures / f"{name}.txt").write_text(name)
    (pictures / "b.png").write_bytes(b"oops")
    (pictures / "d.txt").unlink()
    bank = build_bank(FolderDataset(pictures, 8), None, tmp_path / "bank", 1)
    assert list(bank.captions) == [("a",), ("c",)]
    assert {problem.key for problem in bank.problems} == {"b.png", "d.png"}


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 3 items can be used: toy-2 is truncated"):
        build_bank(Toy(3, broken=(0, 1, 2)), None, tmp_path, 1)
    with pytest.raises(DataError, match="at least one item"):
        build_bank(Toy(0), None, tmp_path, 1)


@pytest.mark.parametrize(("workers", "kills"), [(1, False), (2, True)])
def test_a_killed_build_goes_on_and_ends_the_same(tmp_path: Path, workers: int, kills: bool) -> None:
    """An exception stands for Ctrl-C, a real SIGKILL of a worker for the machine's own violence."""
    straight = build_bank(Toy(200, broken=(5, 150), with_facts=True), None, tmp_path / "straight", 1)
    alarm, diary = tmp_path / "alarm", tmp_path / "diary"
    alarm.touch()
    toy = Toy(200, 8, 0, (5, 150), True, alarm, 120, kills, diary)
    with pytest.raises(PinxitError if kills else Interrupted):
        build_bank(toy, None, tmp_path / "bank", workers)
    with pytest.raises(DataError, match="not a finished bank"):
        Bank.open(tmp_path / "bank")
    before = diary.read_text().split()
    alarm.unlink()
    diary.unlink()
    build_bank(toy, None, tmp_path / "bank", workers)
    assert contents(tmp_path / "bank") == contents(straight.folder)
    if workers == 1:
        again = diary.read_text().split()
        assert len(again) < 90 and not set(map(int, again[1:])) & set(map(int, before[:100])), "done chunks stay"


@pytest.mark.parametrize("step", ["_append", "_compact", "write_json"])
def test_a_kill_while_putting_together_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    toy = Toy(100, broken=(7,), with_facts=True)
    straight = contents(build_bank(toy, None, tmp_path / "straight", 1).folder)
    original = getattr(bank_builder, step)

    def fail(*arguments: Any) -> Any:
        if step == "write_json" and arguments[0].name != "bank.json":
            return original(*arguments)
        if step == "_compact":
            original(*arguments)
        raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(bank_builder, step, fail)
        build_bank(toy, None, tmp_path / "bank", 1)
    build_bank(toy, None, tmp_path / "bank", 1)
    assert contents(tmp_path / "bank") == straight


def test_a_finished_bank_is_not_built_again(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    toy = Toy(50, diary=diary)
    build_bank(toy, None, tmp_path / "bank", 1)
    diary.unlink()
    build_bank(toy, None, tmp_path / "bank", 1)
    assert diary.read_text().split() == ["0"], "only the sample is looked at"


@pytest.mark.parametrize("finished", [True, False])
def test_other_data_is_refused_with_what_differs(tmp_path: Path, finished: bool) -> None:
    folder, alarm = tmp_path / "bank", tmp_path / "alarm"
    if finished:
        build_bank(Toy(100), None, folder, 1)
    else:
        alarm.touch()
        with pytest.raises(Interrupted):
            build_bank(Toy(100, alarm=alarm, alarm_at=50), None, folder, 1)
        alarm.unlink()
    with pytest.raises(DataError, match=r"holds a bank of other data: source\.seed is 0 there and 1 here"):
        build_bank(Toy(100, seed=1), None, folder, 1)
    with pytest.raises(DataError, match="count is 100 there and 90 here"):
        build_bank(Toy(100), 90, folder, 1)
    with pytest.raises(DataError, match="size is 8 there and 16 here"):
        build_bank(Toy(100, size=16), None, folder, 1)


def test_a_change_of_the_drawing_code_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_bank(Toy(10), None, tmp_path, 1)
    monkeypatch.setattr(Toy, "picture", lambda self, index: np.zeros((self.size, self.size, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"other data: sample is \w+ there"):
        build_bank(Toy(10), None, tmp_path, 1)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("dear")
    with pytest.raises(DataError, match="is not empty and holds no bank"):
        build_bank(Toy(10), None, tmp_path, 1)
    assert contents(tmp_path) == {"thesis.doc": b"dear"}


def test_progress_counts_items(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    build_bank(Toy(130), None, tmp_path, 1, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (130, 130) and [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_too_little_room_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.used, 1000))
    with pytest.raises(PinxitError, match=r"needs 0\.0 GB and only 0\.0 GB are free"):
        build_bank(Toy(100), None, tmp_path / "bank", 1)
    assert not (tmp_path / "bank").exists()


def test_a_full_disk_is_one_sentence_and_the_build_goes_on_later(tmp_path: Path) -> None:
    with full_disk(5000), pytest.raises(PinxitError, match=r"cannot write .*pictures\.npy"):
        build_bank(Toy(100), None, tmp_path, 1)
    assert len(build_bank(Toy(100), None, tmp_path, 1)) == 100


def test_pictures_of_another_shape_are_refused(tmp_path: Path) -> None:
    class Mixed(Toy):
        def picture(self, index: int) -> Any:
            return gradient(8, 8 if index < 5 else 9)

    with pytest.raises(DataError, match=r"toy-5 is a picture of shape \(8, 9, 3\)"):
        build_bank(Mixed(10), None, tmp_path / "a", 1)

    class Wide(Toy):
        def picture(self, index: int) -> Any:
            return gradient(8, 9)

    with pytest.raises(DataError, match="square pictures; toy-0 has 9 x 8 pixels"):
        build_bank(Wide(10), None, tmp_path / "b", 1)


@pytest.mark.parametrize("damage", ["short", "lines", "format", "json", "gone"])
def test_damaged_banks_are_refused(tmp_path: Path, damage: str) -> None:
    build_bank(Toy(10), None, tmp_path, 1)
    about = json.loads((tmp_path / "bank.json").read_text())
    if damage == "short":
        (tmp_path / "pictures.npy").write_bytes((tmp_path / "pictures.npy").read_bytes()[:300])
    elif damage == "lines":
        (tmp_path / "captions.jsonl").write_bytes(b'["only one"]\n')
    elif damage == "format":
        (tmp_path / "bank.json").write_text(json.dumps(about | {"format": 99}))
    elif damage == "json":
        (tmp_path / "bank.json").write_text("{")
    else:
        (tmp_path / "pictures.npy").unlink()
    with pytest.raises(DataError, match=str(tmp_path)):
        Bank.open(tmp_path)


def test_a_bank_travels_to_other_processes_and_into_other_banks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bank = build_bank(Toy(10), None, "one", 1)
    monkeypatch.chdir("/")
    assert not list(bank.problems)
    again = pickle.loads(pickle.dumps(bank))
    assert np.array_equal(again.pictures, bank.pictures)
    copy = build_bank(bank, 4, tmp_path / "two", 1)
    assert np.array_equal(copy.pictures, bank.pictures[:4])


GOOD = Example(gradient(8, 8), ("a",), "good")


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"picture": gradient(8, 8) / 255}, "not float64 [8, 8, 3]"),  # became black
        ({"picture": gradient(8, 8)[:, :, 0]}, "not uint8 [8, 8]"),
        ({"captions": ()}, "has no caption"),  # the finished bank was damaged, as those below
        ({"captions": "a"}, "must be a list, not one text"),
        ({"captions": (5,)}, "its caption must be text, not 5"),
        ({"captions": ("a\ud800",)}, "its caption is not UTF-8"),
        ({"captions": ("a", " ")}, "or an empty one"),
    ],
)
def test_what_a_programs_dataset_makes_of_other_types_is_skipped(
    odd: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    dataset = [GOOD, dataclasses.replace(GOOD, key="odd", **odd)]
    bank = build_bank(dataset, np.int64(2), str(tmp_path / "bank"), workers=1)  # type: ignore[arg-type]
    written = write_shards(dataset, tmp_path / "shards", workers=1)
    assert len(bank) == written.items == 1 and bank[0].captions == ("a",)
    for problems in (bank.problems, written.problems):
        assert [problem.key for problem in problems] == ["odd"] and reason in next(iter(problems)).reason
    assert len(ShardDataset(str(tmp_path / "shards" / "00000.tar"), 8)) == 1
    with pytest.raises(UsageError, match=r"count must be a whole number, not 2\.0"):
        build_bank(dataset, 2.0, tmp_path / "other")  # type: ignore[arg-type]
