"""Round ticks, labels that find room, and lines that are drawn where they should be."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pinxit.errors import UsageError
from pinxit.evaluation.chart import COLOURS, FOOT, LEFT, TEXT, TOP, WIDE, Line, Panel, _legend_rows, _style, chart
from pinxit.evaluation.chart_axes import Scale, around, overlap, roomiest, round_ticks, spaced, span
from pinxit.evaluation.chart_canvas import MARKERS, Canvas, text_width
from tests.golden import golden

if TYPE_CHECKING:
    from pinxit.types import Picture


def coloured(picture: Picture, number: int) -> NDArray[np.intp]:
    """Rows and columns where a picture has the colour of a line."""
    return np.argwhere((picture == COLOURS[number]).all(2))


def panel(*lines: Line, **about: object) -> Panel:
    return Panel("p", "x", "y", lines, **about)  # type: ignore[arg-type]


def test_ticks_are_round_and_inside() -> None:
    values, texts = zip(*round_ticks(0.0, 1.0), strict=True)
    assert values == pytest.approx([n / 10 for n in range(11)]) and texts[:3] == ("0.0", "0.1", "0.2")
    assert [text for _, text in round_ticks(-0.21, 0.43)] == ["-0.2", "-0.1", "0.0", "0.1", "0.2", "0.3", "0.4"]
    assert [text for _, text in round_ticks(998.0, 5010.0)] == ["1000", "1500", "2000", "2500", "3000", "3500", "4000",
                                                               "4500", "5000"]  # fmt: skip
    for low, high in itertools.pairwise((1e-6, 3e-5, 0.02, 7.7, 123.0)):
        ticks = [value for value, _ in round_ticks(low, high)]
        assert 3 <= len(ticks) <= 11 and all(low <= tick <= high for tick in ticks)


def test_a_span_holds_its_values_and_never_is_empty() -> None:
    low, high = span([2.0, 4.0])
    assert low < 2 and high > 4
    assert span([0.1, 0.4], least=0.0)[0] == 0.0
    assert span([3.0])[0] < 3 < span([3.0])[1] and span([0.0])[0] < 0 < span([0.0])[1]


def test_labels_take_the_first_free_place_inside() -> None:
    choices = around((50.0, 50.0), 20.0, 10.0, 5.0)
    room = (0.0, 0.0, 100.0, 100.0)
    assert roomiest(choices, [], room) == choices[0]
    assert roomiest(choices, [choices[0]], room) not in (choices[0],)
    assert not overlap(roomiest(choices, choices[:1], room), choices[0])
    narrow = (0.0, 0.0, 56.0, 100.0)
    assert roomiest(choices, [], narrow)[2] <= 56
    assert roomiest(choices, [room], room) == choices[0]
    outside = [(-1.0, 0.0, 9.0, 9.0), (0.0, -1.0, 9.0, 9.0), (0.0, 0.0, 101.0, 9.0), (0.0, 0.0, 9.0, 101.0)]
    assert roomiest([*outside, room], [], room) == room, "what reaches every edge lies inside"


def test_tick_labels_do_not_run_into_each_other() -> None:
    ticks = [(float(n), str(n)) for n in range(10)]
    kept = spaced(ticks, Scale(0, 9, 0, 90), [15.0] * 10, 6)
    assert kept[0] == ticks[0] and all(b[0] - a[0] >= 3 for a, b in itertools.pairwise(kept))
    assert spaced(ticks, Scale(0, 9, 0, 900), [15.0] * 10, 6) == ticks
    assert spaced(ticks, Scale(0, 9, 0, 90), [10.0] * 10, 0) == ticks, "which touch, but no more"
    assert spaced(ticks, Scale(0, 9, 0, 90), [10.0, 10.1, *[10.0] * 8], 0) == [ticks[0], *ticks[2:]]
    assert spaced(ticks, Scale(0, 9, 0, 90), [10.1, *[10.0] * 9], 0) == [ticks[0], *ticks[2:]]


def test_lines_rise_and_fall_as_their_points_do() -> None:
    rising, falling = Line("a", [(0, 0), (1, 1)]), Line("b", [(0, 1), (1, 0)])
    picture = chart("t", [panel(rising)])
    drawn = coloured(picture, 0)
    left, right = drawn[drawn[:, 1].argmin()], drawn[drawn[:, 1].argmax()]
    assert left[0] > right[0] + 200 and right[1] - left[1] > 300
    both = coloured(chart("t", [panel(rising, falling)]), 1)
    assert both[both[:, 1].argmax()][0] > picture.shape[0] - FOOT - 80


def test_nothing_is_drawn_outside_the_axes() -> None:
    picture = chart("t", [panel(Line("a", [(-5, 100), (7, -3), (9, 1e3)], ["x", "y", "z"]))])
    rows, columns = coloured(picture, 0).T
    assert columns.min() > LEFT and columns.max() < WIDE and rows.min() > TOP and rows.max() < picture.shape[0] - FOOT


def test_a_level_a_legend_and_a_second_panel_are_seen() -> None:
    line, other = Line("a", [(0, 0.1), (1, 0.2)], ["p", "q"]), Line("b", [(0, 0.3), (1, 0.1)])
    alone, level = chart("t", [panel(line)]), chart("t", [panel(line, level=(0.15, "here"))])
    assert (alone != level).any()
    two = chart("t", [panel(line, other), panel(other, line, least=0.0)])
    assert two.shape[1] > 1.9 * alone.shape[1] and two.shape[0] > alone.shape[0]
    shades = len(np.unique(two @ np.array([1 << 16, 1 << 8, 1])))
    assert shades > 60, "edges are soft"


def test_a_legend_fills_rows_from_the_left() -> None:
    (first, second) = _legend_rows(["one", "two", "three"], 2 * 42 + 2 * 22 + text_width("onetwo", TEXT) + 1)
    assert [(number, name) for number, name, _ in (*first, *second)] == [(0, "one"), (1, "two"), (2, "three")]
    assert [left for _, _, left in first] == [0.0, 42 + text_width("one", TEXT) + 22] and second[0][2] == 0.0


def test_markers_are_as_large_as_asked() -> None:
    for shape in ("circle", "square"):
        canvas = Canvas(40, 40)
        canvas.marker((20.0, 20.0), shape, COLOURS[0], radius=6.0)
        rows = coloured(canvas.picture(), 0)[:, 0]
        assert 9 <= rows.max() - rows.min() + 1 <= 13, shape


def test_styles_of_many_lines_differ() -> None:
    assert len({_style(number) for number in range(28)}) == 28


def test_everything_lies_where_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever moves something looks at the picture, and then writes the file anew (PINXIT_GOLDEN=write)."""
    calls: list[str] = []

    def recorded(of: type[object], name: str) -> None:
        usual = getattr(of, name)

        def call(self: object, *given: Any, **named: Any) -> Any:
            told = (*given, *named.values())
            numbers = [round(float(one), 1) for one in _numbers(told)]
            words = [one for one in told if isinstance(one, str)]
            calls.append(" ".join(map(str, (name, *numbers, *words))))
            return usual(self, *given, **named)

        monkeypatch.setattr(of, name, call)

    for name in ("line", "polygon", "ellipse", "text"):
        recorded(ImageDraw.ImageDraw, name)
    recorded(Image.Image, "paste")
    lines = [Line(name, [(0, n), (1, 2 * n + 1), (2, 3)], ["p", "q", "r"]) for n, name in enumerate(MARKERS)]
    chart("title", [panel(*lines, level=(1.5, "level")), panel(*lines[:1], least=0.0, ticks=[(0.5, "half")])])
    assert calls == golden(Path(__file__).with_name("chart.json"), lambda: calls)


def _numbers(told: Any) -> list[float]:
    """All numbers in tuples and lists, in their order."""
    if isinstance(told, tuple | list):
        return [number for one in told for number in _numbers(one)]
    return [told] if isinstance(told, int | float) else []


def test_points_that_are_not_finite_are_left_out_with_their_labels() -> None:
    nan, inf = float("nan"), float("inf")
    some = Line("a", [(0, 0.1), (1, nan), (inf, 1), (2, 0.2)], ["p", "q", "r", "s"])
    assert (chart("t", [panel(some)]) == chart("t", [panel(Line("a", [(0, 0.1), (2, 0.2)], ["p", "s"]))])).all()
    assert not len(coloured(chart("t", [panel(Line("a", [(0, nan), (1, nan)]))]), 0)), "axes alone"
    assert (chart("t", [panel(some, level=(nan, "none"))]) == chart("t", [panel(some)])).all()
    assert (chart("t", [panel(Line("a", np.eye(2)))]) == chart("t", [panel(Line("a", [(1, 0), (0, 1)]))])).all()  # type: ignore[arg-type]


def test_dashes_are_as_long_as_their_gaps() -> None:
    canvas = Canvas(40, 11)
    canvas.dashes((0.0, 5.0), (27.0, 5.0), COLOURS[0], dash=6.0)
    row = np.array(canvas.image)[16]
    inked = [bool((pixel == COLOURS[0]).all()) for pixel in row[::3]]
    starts = [k for k in range(1, 40) if inked[k] and not inked[k - 1]]
    assert starts == [12, 24] and inked[0] and inked[5] and not inked[9] and inked[26] and not inked[29]


def test_text_ends_where_it_should_and_its_halo_lies_around(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[float, float, str, int, object]] = []
    monkeypatch.setattr(
        "pinxit.evaluation.chart_canvas.write",
        lambda draw, place, text, size, ink: written.append((*place, text, size, ink)),
    )
    monkeypatch.setattr("pinxit.evaluation.chart_canvas.width", lambda text, size: size * len(text))
    canvas = Canvas(9, 9)
    for align, left in (("left", 30.0), ("middle", 30.0 - 20 * 1.5), ("right", 30.0 - 20 * 3)):
        canvas.text((30.0, 7.0), "abc", 20, (1, 2, 3), align)  # type: ignore[arg-type]
        assert written.pop() == (3 * left, 21.0, "abc", 60, (1, 2, 3))
    canvas.text((30.0, 7.0), "a", 10, (1, 2, 3), halo=(9, 9, 9))
    *halo, (x, y, *_) = written
    assert (x, y) == (90.0, 21.0) and len(halo) == 12 and {one[4] for one in halo} == {(9, 9, 9)}
    around_it = [((px - x) / 3, (py - y) / 3) for px, py, *_ in halo]
    assert [a * a + b * b for a, b in around_it] == pytest.approx([4.0] * 12)
    assert around_it[3] == pytest.approx((0, 2)) and len({(round(a, 6), round(b, 6)) for a, b in around_it}) == 12


def test_upright_text_is_centred() -> None:
    canvas = Canvas(61, 121)
    canvas.upright((30.0, 60.0), "HHHH", 18, (0, 0, 0))
    rows, columns = np.nonzero((canvas.picture() < 128).all(2))
    assert abs((rows.min() + rows.max()) / 2 - 60) <= 1.5 and abs((columns.min() + columns.max()) / 2 - 30) <= 2.5
    assert rows.max() - rows.min() > 2 * (columns.max() - columns.min()), "it reads upwards"


def test_nothing_to_draw_is_refused() -> None:
    for panels in ([], [panel(Line("a", []))]):
        with pytest.raises(UsageError, match="at least one point"):
            chart("t", panels)
