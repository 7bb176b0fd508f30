"""A sweep as a table, as a plot like Imagen's (arXiv 2205.11487, section 4.4), and as a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pinxit.data.sheet import sheet
from pinxit.evaluation.chart import Line, Panel, chart
from pinxit.evaluation.measures import Measures
from pinxit.evaluation.sweep import SHOWN, Trial

if TYPE_CHECKING:
    from pinxit.evaluation.chart_axes import Tick
    from pinxit.evaluation.questions import Question
    from pinxit.types import Picture

MEASURED = ["judge", "95 %", "alignment", "distance", "saturated", "sharpness"]
COSTS = ["evaluations", "s/picture"]
TRUE = "true renders"
FAR = 8.0  # ratio of the largest to the least value from which an axis is logarithmic


def named(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """Some settings as text: "guidance=4, steps=25"."""
    return ", ".join(f"{name}={settings[name]}" for name in names)


def cells(tried: Sequence[Trial], truth: Measures, varied: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text, one per combination; the last row is that of the true renders."""
    rows = [[*(str(one.settings[name]) for name in varied), *_measured(one.measures), *_costs(one)] for one in tried]
    last = [TRUE, *[""] * (len(varied) - 1), *_measured(truth), *["–"] * len(COSTS)]
    return [*varied, *MEASURED, *COSTS], [*rows, last]


def _measured(one: Measures) -> list[str]:
    low, high = one.interval
    shown = (one.alignment, one.distance, one.saturated, one.sharpness)
    return [f"{one.judge:.3f}", f"{low:.2f}–{high:.2f}", *(f"{value:.3f}" for value in shown)]


def _costs(one: Trial) -> list[str]:
    asked = [str(count) for count in (one.evaluations, one.upsampler_evaluations) if count is not None]
    return [" + ".join(asked) or "–", f"{one.seconds:.2f}"]


def plot_of(title: str, tried: Sequence[Trial], truth: Measures, varied: Mapping[str, Sequence[Any]]) -> Picture:
    """Distance over alignment, and the saturated share, along the first varied setting.

    There is a line for each combination of the other varied settings.
    """
    first, *rest = varied
    ticks = _positions(varied[first])
    places = dict(zip(map(str, varied[first]), ticks, strict=True))
    lines: dict[str, list[Trial]] = {}
    for one in tried:
        lines.setdefault(named(one.settings, rest), []).append(one)
    labels = [str(value) for value in varied[first]]
    against = [
        Line(name, [(one.measures.alignment, one.measures.distance) for one in ones], labels)
        for name, ones in lines.items()
    ]
    along = [
        Line(name, [(places[str(one.settings[first])][0], one.measures.saturated) for one in ones])
        for name, ones in lines.items()
    ]
    panels = [
        Panel(
            f"Alignment and fidelity, along {first}",
            "alignment: cosine of picture and sentence (higher is better)",
            "distance from true renders, CMMD (lower is better)",
            against,
        ),
        Panel(
            f"Saturation, along {first}",
            first,
            "share of colour values that are 0 or 255",
            along,
            ticks,
            least=0.0,
            level=(truth.saturated, TRUE),
        ),
    ]
    return chart(title, panels)


def _positions(values: Sequence[Any]) -> list[Tick]:
    """Positions of values along an axis: numbers linearly or by their logarithm, others one after the other."""
    if not all(isinstance(value, int | float) for value in values):
        return [(float(place), str(value)) for place, value in enumerate(values)]
    if min(values) > 0 and max(values) >= FAR * min(values):
        return [(math.log(value), str(value)) for value in values]
    return [(float(value), str(value)) for value in values]


def sheet_of(tried: Sequence[Trial], varied: Sequence[str], asked: Sequence[Question]) -> Picture:
    """One row per combination, labelled by its settings, of pictures of the first prompts, which are printed below."""
    columns = min(SHOWN, len(asked))
    pictures = [picture for one in tried for picture in one.pictures]
    captions = [""] * (len(pictures) - columns) + [question.prompt for question in asked[:columns]]
    names = [named(one.settings, varied).replace(", ", "\n") for one in tried]
    return sheet(pictures, captions, columns, names=names)
