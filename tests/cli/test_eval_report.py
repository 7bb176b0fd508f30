"""How tables of figures look."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pinxit.cli.eval import report
from pinxit.cli.eval.report import show_table


def test_names_stand_on_the_left_and_figures_on_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("t", ["task", "best of 1"], [["pair", "1.00"], ["counting", "0.5"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    pair, counting = (next(line for line in lines if name in line) for name in ("pair", "counting"))
    assert pair.index("pair") == counting.index("counting")
    assert len(pair) == len(counting) and pair.endswith("1.00") and counting.endswith("0.5")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_table_is_shown_in_any_encoding_and_is_no_markup(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding))
    show_table("runs/[red]x: 红", ["task", "95 %"], [["[/bold]", "0.10–0.20"]])
    said = written.getvalue().decode(encoding)
    assert all(text.encode(encoding, "backslashreplace").decode(encoding) in said for text in ("x: 红", "0.10–0.20"))
    assert "[/bold]" in said and "runs/[red]x" in said


@pytest.mark.parametrize("width", [150, 80, 40])
def test_figures_stay_whole_however_narrow_the_terminal_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(report, "console", lambda: Console(width=width))
    names = [f"best of {4**n}" for n in range(7)]
    show_table("t", ["", *names], [["a clock in the shape of a green triangle", *(f"0.{n}25" for n in range(7))]])
    lines = capsys.readouterr().out.splitlines()
    figures = next(line for line in lines if "0.025" in line)
    assert figures.split()[-7:] == [f"0.{n}25" for n in range(7)]
    assert figures.startswith("  a clock in the shape of a green triangle  ") == (width == 150)
    assert width == 40 or max(map(len, lines)) <= width
