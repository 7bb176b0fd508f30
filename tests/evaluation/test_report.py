"""The table's order, and intervals against published values."""

from __future__ import annotations

import pytest

from pinxit.evaluation.report import cells, column_names, interval, intervals, marked, score_table
from pinxit.world.tasks import TASKS


def test_lines_and_columns_stand_in_genevals_order() -> None:
    table = score_table(
        [("best of 4/sketch", 0.25), ("best of 4/counting", 0.5), ("best of 4/overall", 0.75), ("judge: x/counting", 1)]
    )
    assert table == {"best of 4": {"sketch": 0.25, "counting": 0.5, "overall": 0.75}, "judge: x": {"counting": 1}}
    assert column_names(table) == ["overall", "counting", "sketch"]
    headings, rows = cells(table)
    assert headings == ["", "overall", "counting", "sketch"]
    assert rows == [["best of 4", "0.750", "0.500", "0.250"], ["judge: x", "–", "1.000", "–"]]
    everything = {"line": dict.fromkeys(["sketch", *TASKS[::-1], "overall"], 1.0)}
    assert column_names(everything) == ["overall", *TASKS, "sketch"]


def test_wilsons_interval_by_hand() -> None:
    """p = 0.5, n = 100, z = 1.96: centre 0.5, half width 0.0962; at p = 1 the upper end is 1."""
    low, high = interval(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert interval(1.0, 50) == pytest.approx((1 / (1 + 1.96**2 / 50), 1.0))
    assert interval(0.0, 0) == (0.0, 1.0)


def test_each_column_is_as_sure_as_its_prompts_are_many() -> None:
    asked = ["counting"] * 10 + ["position"] * 20 + ["sketch"] * 5
    found = intervals({"best of 1": {"overall": 0.5, "counting": 0.5, "sketch": 0.5}}, asked)["best of 1"]
    assert found == {"overall": interval(0.5, 30), "counting": interval(0.5, 10), "sketch": interval(0.5, 5)}


def test_marks() -> None:
    assert marked(["a fox", "a cat"], ["", "0 cat, not 1"]) == ["✓ a fox", "✗ a cat (0 cat, not 1)"]
