"""Runs the same exam under many settings; finished settings survive an interruption.

All settings are given the same questions and seeds, and so start from the same noise.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.config import from_dict
from pinxit.evaluation import partial_results as parts
from pinxit.evaluation.measures import Measures, ReferencePictures
from pinxit.evaluation.questions import Question
from pinxit.evaluation.variations import Settings, evaluations

if TYPE_CHECKING:
    from pinxit.types import Picture, Ranked

SHOWN = 8  # prompts whose pictures are kept for a sheet
Watch = Callable[[float], None]
Paint = Callable[[Sequence[Question], Settings, Watch], list["Ranked"]]
"""(questions, settings, watch) -> a picture for each; `watch` gets the progress, 0 to 1."""
Enlarge = Callable[[Question, "Ranked", Settings], "Ranked"]


@dataclass(frozen=True)
class Trial:
    """One combination of settings, with its costs and measures."""

    settings: Settings
    measures: Measures
    evaluations: int | None  # of the painter's network for one picture; None if the sampler is unknown
    upsampler_evaluations: int | None
    seconds: float  # per picture, on this machine
    pictures: list[Picture] = field(default_factory=list, compare=False)  # of the first questions


@dataclass
class SweepPainter:
    """Paints with varying settings, and enlarges the pictures if `enlarge` is given."""

    paint: Paint
    own: Settings  # its default settings
    enlarge: Enlarge | None = None
    enlarging: frozenset[str] = frozenset()  # settings that affect only the enlarging
    _small: dict[str, tuple[list[Ranked], float]] = field(default_factory=dict)

    def pictures(self, asked: Sequence[Question], settings: Settings, watch: Watch) -> tuple[list[Ranked], float]:
        """A picture for each question, and the seconds that all of them took.

        Small pictures are painted once, and enlarged again for settings that affect only the enlarging.
        """
        if self.enlarge is None:
            return _timed(lambda: self.paint(asked, settings, watch))
        enlarge, plain = self.enlarge, {k: v for k, v in settings.items() if k not in self.enlarging}
        name = json.dumps(parts.as_stored(plain), sort_keys=True)
        if name not in self._small:
            self._small[name] = _timed(lambda: self.paint(asked, plain, lambda share: watch(share / 2)))
        small, before = self._small[name]

        def enlarged() -> list[Ranked]:
            large = []
            for question, one in zip(asked, small, strict=True):
                large.append(enlarge(question, one, settings))
                watch((1 + len(large) / len(asked)) / 2)
            return large

        large, after = _timed(enlarged)
        return large, before + after

    def costs(self, settings: Settings) -> tuple[int | None, int | None]:
        """Evaluations of the painter's and of the upsampler's network for one picture; None where unknown."""
        about = self.own | settings
        steps = None if about.get("spacing") else about.get("steps")  # a spacing names timesteps of its own
        large = evaluations(about.get("upsampler_sampler"), about.get("upsampler_steps"))
        return evaluations(about.get("sampler"), steps), large


def sweep(
    asked: Sequence[Question],
    planned: Sequence[Settings],
    painter: SweepPainter,
    truth: ReferencePictures,
    *,
    part: Path | str | None = None,
    identity: Mapping[str, Any] | None = None,
    watch: Watch = lambda done: None,
) -> list[Trial]:
    """Paint and measure every combination, in their order.

    With `part`, finished combinations are saved in that file and resumed from it; `identity` describes the exam.
    `watch` gets the number of finished combinations. Raises UsageError when the file belongs to another exam, or to
    other questions.
    """
    about = {**(identity or {}), "questions": _digest(asked)}  # another version may ask others in an equal exam
    part = None if part is None else Path(part)
    kept = parts.load_partial(part, about, _Rows, _read) or []
    stored = [parts.as_stored(settings) for settings in planned]  # what cannot be kept is told before it is painted
    trials = []
    for number, settings in enumerate(planned):

        def within(share: float, number: int = number) -> None:
            watch(number + share)

        tried = next((one for one in kept if parts.as_stored(one.settings) == stored[number]), None)
        if tried is None:
            tried = _try(asked, settings, painter, truth, within)
            kept.append(tried)
            if part:
                parts.save_partial(part, about, {"tried": [_kept(one) for one in kept]})
        trials.append(tried)
        within(1.0)
    return trials


def _digest(asked: Sequence[Question]) -> str:
    told = json.dumps(parts.as_stored([(one.prompt, one.seed, asdict(one.expected)) for one in asked]))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _try(
    asked: Sequence[Question], settings: Settings, painter: SweepPainter, truth: ReferencePictures, watch: Watch
) -> Trial:
    ranked, seconds = painter.pictures(asked, settings, watch)
    shown = [one.picture for one in ranked[:SHOWN]]
    return Trial(settings, truth.measured(ranked), *painter.costs(settings), seconds / len(asked), shown)


def _timed(work: Callable[[], list[Ranked]]) -> tuple[list[Ranked], float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


class _Rows(parts.PartialResults):
    tried: list[dict[str, Any]]


def _kept(tried: Trial) -> dict[str, Any]:
    return as_row(tried) | {"pictures": [parts.to_text(picture) for picture in tried.pictures]}


def _read(data: Mapping[str, Any]) -> list[Trial]:
    rows = [dict(row) for row in data["tried"]]
    pictures = [[parts.to_picture(text) for text in row.pop("pictures")] for row in rows]
    names = ("settings", "evaluations", "upsampler_evaluations", "seconds")
    abouts = [{name: row.pop(name) for name in names} for row in rows]
    return [
        Trial(measures=from_dict(Measures, row), pictures=shown, **about)
        for row, about, shown in zip(rows, abouts, pictures, strict=True)
    ]


def as_row(tried: Trial) -> dict[str, Any]:
    """A combination as JSON-ready values, without its pictures."""
    costs = {"evaluations": tried.evaluations, "upsampler_evaluations": tried.upsampler_evaluations}
    return {"settings": tried.settings, **asdict(tried.measures), **costs, "seconds": tried.seconds}
