"""How tables of figures look."""

from __future__ import annotations

import pytest

from pinxit.cli.eval.report import show_table


def test_names_stand_on_the_left_and_figures_on_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("t", ["task", "best of 1"], [["pair", "1.00"], ["counting", "0.5"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    pair, counting = (next(line for line in lines if name in line) for name in ("pair", "counting"))
    assert pair.index("pair") == counting.index("counting")
    assert len(pair) == len(counting) and pair.endswith("1.00") and counting.endswith("0.5")
