"""Which of several saves is read, and how its rows are put together."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pinxit.errors import CheckpointError
from pinxit.training.saved_state import BEFORE, FILE, FOLDER, SavedState, exists, last_saved, name_of, saves_of
from pinxit.training.saving import saving_whole
from pinxit.training.state import read_progress
from pinxit.weights.tensor_files import write_tensors


def notes(images: int, **rows: tuple[int, int]) -> dict[str, str]:
    return {"progress": json.dumps({"images": images}), "plan": "{}", "rows": json.dumps(rows)}


def ranks(folder: Path, number: str, images: int, parts: dict[int, tuple[int, list[float]]], length: int = 5) -> Path:
    """A save of `x` [5] by two ranks; `parts`: of each rank the first of its rows, and these."""
    for rank, (first, values) in parts.items():
        path = folder / FOLDER / number / name_of(rank, 2)
        write_tensors(path, {"x": torch.tensor(values)}, notes(images, x=(first, length)))
    return folder / FOLDER / number


WHOLE = {0: (0, [0.0, 1.0, 2.0]), 1: (3, [3.0, 4.0])}


def read(folder: Path, span: tuple[int, int] | None = None) -> list[float]:
    found: list[float] = SavedState(folder).read("x", span).tolist()
    return found


def test_rows_are_put_together_from_the_files_of_all(tmp_path: Path) -> None:
    assert not exists(tmp_path) and not saves_of(tmp_path)
    ranks(tmp_path, "000001", 8, WHOLE)
    assert exists(tmp_path) and read(tmp_path) == [0, 1, 2, 3, 4]
    spans = ((0, 2), (1, 4), (3, 5), (2, 3), (0, 5))
    assert [read(tmp_path, span) for span in spans] == [list(range(*span)) for span in spans]
    stored = SavedState(tmp_path)
    assert stored.names() == ["x"] and stored.shape("x") == [5] and stored.kind("x") == torch.float32


def test_the_save_that_has_seen_most_is_read(tmp_path: Path) -> None:
    for number in ("000009", "1000000", "000010", "part-000099", "99"):
        ranks(tmp_path, number, 16, WHOLE)
    assert [save.name for save in saves_of(tmp_path)] == ["000009", "000010", "1000000"]
    assert SavedState(tmp_path).path.name == "1000000"
    for images, taken in ((8, "1000000"), (16, FILE), (24, FILE)):
        write_tensors(tmp_path / FILE, {"x": torch.zeros(5)}, notes(images))
        assert SavedState(tmp_path).path.name == taken
        assert read_progress(tmp_path).images == max(images, 16)


def test_what_is_missing_or_damaged_is_one_sentence(tmp_path: Path) -> None:
    save = ranks(tmp_path, "000001", 8, {0: WHOLE[0], 1: (4, [4.0])})
    with pytest.raises(
        CheckpointError, match=r"000001 lacks rows of 'x'; remove it to go on from the previous save\.$"
    ):
        read(tmp_path)
    assert read(tmp_path, (0, 3)) == [0, 1, 2]
    (save / name_of(0, 2)).unlink()
    with pytest.raises(CheckpointError, match=r"lacks rank-0-of-2\.safetensors; remove it"):
        SavedState(tmp_path)
    write_tensors(tmp_path / "other" / FILE, {"x": torch.zeros(5)}, {"progress": "{}"})
    with pytest.raises(CheckpointError, match=rf"is not a training state .*; put {BEFORE} in its place"):
        SavedState(tmp_path / "other")


def test_when_it_was_saved_last(tmp_path: Path) -> None:
    assert last_saved(tmp_path) == 0.0
    write_tensors(tmp_path / "one" / FILE, {"x": torch.zeros(5)}, notes(8))
    os.utime(tmp_path / "one" / FILE, (50.0, 50.0))
    assert last_saved(tmp_path) == 50.0
    for path in ranks(tmp_path / "two", "000001", 8, WHOLE).iterdir():
        os.utime(path, (60.0, 60.0))
    assert last_saved(tmp_path) == 60.0


def test_saves_by_ranks_go_once_there_are_two_whole_ones(tmp_path: Path) -> None:
    ranks(tmp_path, "000001", 8, WHOLE)
    x: dict[str, Tensor] = {"x": torch.zeros(5)}
    saving_whole(tmp_path, x, notes(16), False).at_once()
    assert saves_of(tmp_path) and not (tmp_path / BEFORE).exists()
    saving_whole(tmp_path, x, notes(24), False).at_once()
    assert not saves_of(tmp_path) and (tmp_path / BEFORE).is_file() and not list((tmp_path / FOLDER).iterdir())
