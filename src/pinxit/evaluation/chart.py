"""Line charts drawn with Pillow alone: panels side by side under one title and one legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING

from pinxit.errors import UsageError
from pinxit.evaluation.chart_axes import Box, Scale, Tick, around, roomiest, round_ticks, spaced, span
from pinxit.evaluation.chart_canvas import MARKERS, PAPER, Canvas, Colour, text_width

if TYPE_CHECKING:
    from pinxit.types import Picture

# A palette for colour-blind readers (Okabe and Ito), without its palest colour.
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 146, 110),
    (190, 100, 155),
    (60, 60, 60),
    (70, 170, 220),
    (215, 150, 0),
)
INK, SOFT, GRID = (45, 45, 45), (110, 110, 110), (230, 230, 230)
WIDE, HIGH = 620, 470  # a panel with its titles
LEFT, RIGHT, TOP, FOOT = 78, 24, 40, 62  # margins of a panel around its axes
EDGE, HEAD, LEGEND = 14, 48, 26  # of the whole: margin, title, one line of the legend
TITLE, HEADING, TEXT, SMALL = 18, 15, 13, 12


@dataclass(frozen=True)
class Line:
    """A line through points in their order; `labels` beside the points are optional."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    ticks: Sequence[Tick] = ()  # of x; none: round numbers
    least: float | None = None  # where y begins; None: near the lowest point
    level: tuple[float, str] | None = None  # a dashed horizontal line, with its name


def chart(title: str, panels: Sequence[Panel]) -> Picture:
    """The panels side by side; the n-th lines of all panels share colour, marker and legend.

    A point or level that is not finite, as where a measure is undefined, is left out. Raises UsageError for a line of
    no points.
    """
    if not panels or not all(len(line.points) for panel in panels for line in panel.lines):
        raise UsageError("a chart needs at least one point on every line.")
    panels = [_finite(panel) for panel in panels]
    wide = 2 * EDGE + WIDE * len(panels)
    names = [line.name for line in panels[0].lines] if len(panels[0].lines) > 1 else []
    rows = _legend_rows(names, wide - 2 * EDGE - LEFT)
    canvas = Canvas(wide, HEAD + LEGEND * len(rows) + HIGH + EDGE)
    canvas.text((EDGE + LEFT, HEAD - 16), title, TITLE, INK)
    for number, row in enumerate(rows):
        _legend(canvas, row, HEAD + LEGEND * number + 10)
    for number, panel in enumerate(panels):
        _draw_panel(canvas, panel, EDGE + WIDE * number, HEAD + LEGEND * len(rows))
    return canvas.picture()


def _finite(panel: Panel) -> Panel:
    level = panel.level if panel.level and math.isfinite(panel.level[0]) else None
    return replace(panel, lines=[_finite_points(line) for line in panel.lines], level=level)


def _finite_points(line: Line) -> Line:
    kept = [all(map(math.isfinite, point)) for point in line.points]
    return Line(line.name, list(compress(line.points, kept)), list(compress(line.labels, kept)))


def _style(number: int) -> tuple[Colour, str]:
    """Colours and markers in turn: of seven and four, so that 28 lines all differ, and neighbours in both."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def _legend_rows(names: Sequence[str], room: float) -> list[list[tuple[int, str, float]]]:
    """Entries (number, name, left end), as many side by side as there is room for."""
    rows: list[list[tuple[int, str, float]]] = []
    left = room
    for number, name in enumerate(names):
        wide = 42 + text_width(name, TEXT) + 22
        if left + wide > room:
            rows.append([])
            left = 0.0
        rows[-1].append((number, name, left))
        left += wide
    return rows


def _legend(canvas: Canvas, row: Sequence[tuple[int, str, float]], top: float) -> None:
    for number, name, left in row:
        colour, marker = _style(number)
        x = EDGE + LEFT + left
        canvas.line([(x, top), (x + 32, top)], colour, 2.2)
        canvas.marker((x + 16, top), marker, colour)
        canvas.text((x + 40, top + 5), name, TEXT, INK)


def _draw_panel(canvas: Canvas, panel: Panel, left: float, top: float) -> None:
    inside = (left + LEFT, top + TOP, left + WIDE - RIGHT, top + HIGH - FOOT)
    x, y = _scales(panel, inside)
    canvas.text((inside[0], inside[1] - 14), panel.title, HEADING, INK)
    _axes(canvas, panel, x, y, inside)
    if panel.level:
        _level(canvas, panel.level, y, inside)
    places = [[(x(a), y(b)) for a, b in line.points] for line in panel.lines]
    for number, points in enumerate(places):
        if points:
            canvas.line(points, _style(number)[0], 2.2)
    for number, points in enumerate(places):
        colour, marker = _style(number)
        for point in points:
            canvas.marker(point, marker, colour)
    _label(canvas, panel.lines, places, inside)


def _scales(panel: Panel, inside: Box) -> tuple[Scale, Scale]:
    xs = [a for line in panel.lines for a, _ in line.points] + [value for value, _ in panel.ticks]
    ys = [b for line in panel.lines for _, b in line.points] + ([panel.level[0]] if panel.level else [])
    xs, ys = xs or [0.0], ys or [0.0]  # perhaps no point is finite
    return Scale(*span(xs), inside[0], inside[2]), Scale(*span(ys, panel.least), inside[3], inside[1])


def _axes(canvas: Canvas, panel: Panel, x: Scale, y: Scale, inside: Box) -> None:
    """Grid, ticks, frame and titles."""
    left, top, right, bottom = inside
    ticks = list(panel.ticks) or round_ticks(x.low, x.high)
    for value, text in round_ticks(y.low, y.high):
        canvas.line([(left, y(value)), (right, y(value))], GRID)
        canvas.text((left - 8, y(value) + 4), text, SMALL, SOFT, "right")
    for value, _ in ticks:
        canvas.line([(x(value), top), (x(value), bottom)], GRID)
    for value, text in spaced(ticks, x, [text_width(text, SMALL) for _, text in ticks], 6):
        canvas.line([(x(value), bottom), (x(value), bottom + 4)], SOFT)
        canvas.text((x(value), bottom + 19), text, SMALL, SOFT, "middle")
    canvas.line([(left, top), (left, bottom), (right, bottom)], SOFT, 1.2)
    canvas.text(((left + right) / 2, bottom + 44), panel.x, TEXT, INK, "middle")
    canvas.upright((left - 58, (top + bottom) / 2), panel.y, TEXT, INK)


def _level(canvas: Canvas, level: tuple[float, str], y: Scale, inside: Box) -> None:
    canvas.dashes((inside[0], y(level[0])), (inside[2], y(level[0])), SOFT)
    canvas.text((inside[2] - 4, y(level[0]) - 6), level[1], SMALL, SOFT, "right", PAPER)


def _label(canvas: Canvas, lines: Sequence[Line], places: Sequence[Sequence[tuple[float, float]]], inside: Box) -> None:
    """Every label beside its point, where it covers neither a point nor another label, if possible."""
    taken = [(px - 5, py - 5, px + 5, py + 5) for points in places for px, py in points]
    for number, (line, points) in enumerate(zip(lines, places, strict=True)):
        for text, point in zip(line.labels, points, strict=False):
            choices = around(point, text_width(text, SMALL), SMALL, 7)
            box = roomiest(choices, taken, inside)
            taken.append(box)
            canvas.text((box[0], box[3] - 2), text, SMALL, _style(number)[0], halo=PAPER)
