"""The audit: rates, their intervals, and how they move when a label is added."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pinxit.cli import app
from pinxit.errors import PinxitError
from pinxit.pictures import write_png
from pinxit.recipes.clip.audit import Rate, groups_of, rates


def test_wilsons_interval() -> None:
    """Computed by hand; no hits at all still leave doubt."""
    low, high = Rate(490, 10_000).interval
    assert (round(low, 4), round(high, 4)) == (0.0449, 0.0534)
    low, high = Rate(0, 10).interval
    assert low == pytest.approx(0, abs=1e-12) and high == pytest.approx(0.2775, abs=1e-4)
    low, high = Rate(10, 10).interval
    assert high == pytest.approx(1) and low == pytest.approx(1 - 0.2775, abs=1e-4)


def test_rates_by_group() -> None:
    paths = [Path(str(number)) for number in range(5)]
    answers = dict(zip(paths, ["cat", "dog", "cat", "cat", "dog"], strict=True))
    groups = dict(zip(paths, ["old", "old", "new", "new", "new"], strict=True))
    found = rates(answers, groups, ["cat", "dog", "fox"])
    assert list(found) == ["new", "old", "all"]
    assert found["old"] == {"cat": Rate(1, 2), "dog": Rate(1, 2), "fox": Rate(0, 2)}
    assert found["all"]["cat"] == Rate(3, 5) and found["new"]["cat"].share == pytest.approx(2 / 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = ["file,artist,year"]
    for number in range(8):
        colour = np.array((200, 30, 30) if number % 2 else (30, 30, 200), np.uint8)
        write_png(tmp_path / "in" / f"{number}.png", np.full((72, 72, 3), colour))
        lines.append(f"{number}.png,{'ann' if number < 4 else 'bob'},2020")
    (tmp_path / "in" / "metadata.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    return tmp_path / "in"


def test_the_command(folder: Path) -> None:
    (folder / "7.png").write_bytes(b"broken")
    call = ["audit", str(folder), "--labels", "a red square,a blue square", "--group-by", "artist", "--device", "cpu"]
    told = CliRunner().invoke(app, [*call, "--add", "a fox", "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert {group: row["a red square"]["of"] for group, row in found["rates"].items()} == {"ann": 4, "bob": 3, "all": 7}
    for kind, labels in (("rates", 2), ("with_added", 3)):
        for row in found[kind].values():
            assert len(row) == labels and sum(rate["share"] for rate in row.values()) == pytest.approx(1)
    assert "7.png" in told.stderr
    table = CliRunner().invoke(app, [*call, "--add", "a fox"]).stdout
    assert "ann" in table and "with a fox" in table and "+0.0%" in table.replace("-0.0%", "+0.0%")


def test_bad_tables(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PinxitError, match="no column 'age'; it has file, artist, year"):
        groups_of(folder, folder / "metadata.csv", "age")
    with pytest.raises(PinxitError, match="cannot read groups from"):
        groups_of(folder, tmp_path / "none.csv", "age")
    (tmp_path / "twice.csv").write_text("file,age\na.png,1\na.png,2\n")
    with pytest.raises(PinxitError, match="twice"):
        groups_of(folder, tmp_path / "twice.csv", "age")
    (tmp_path / "empty.csv").write_text("file,age\n")
    with pytest.raises(PinxitError, match="names no pictures"):
        groups_of(folder, tmp_path / "empty.csv", "age")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ('a.png,"old\nb.png,young\n', "is no readable CSV file: unexpected end of data"),
        ("a.png,old\na, b.png,old\n", "line 3: there are more fields than the 2 columns; put quotes around"),
    ],
)
def test_no_row_is_swallowed(rows: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"file,age\n{rows}")
    with pytest.raises(PinxitError, match=told):
        groups_of(tmp_path, tmp_path / "t.csv", "age")
    (tmp_path / "t.csv").write_text('file,age\n"a, b.png",old,\n')  # spreadsheets end lines with empty fields
    assert groups_of(tmp_path, tmp_path / "t.csv", "age") == {tmp_path / "a, b.png": "old"}


def test_a_group_cannot_have_the_name_of_all_pictures(tmp_path: Path) -> None:
    """Its counts would be added to those of all."""
    (tmp_path / "all.csv").write_text("file,age\na.png,old\nb.png,all\n")
    with pytest.raises(PinxitError, match="has a group 'all', which is the name of all pictures together: rename it"):
        groups_of(tmp_path, tmp_path / "all.csv", "age")
