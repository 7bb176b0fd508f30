"""What a judge sees in a picture, as plain values, and the geometry of boxes.

Coordinates are fractions of the picture side, x to the right and y downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Box = tuple[float, float, float, float]  # x0, y0, x1, y1
Direction = Literal["left of", "right of", "above", "below"]


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing that was found."""

    name: str
    box: Box
    score: float  # confidence, 0 to 1
    colour: str | None = None  # the likeliest colour term; None when the judge does not tell colours
    form: str | None = None  # the likeliest outline of a made thing


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything a judge found in one picture."""

    found: tuple[Detection, ...]
    style: str | None = None  # the likeliest style of the whole picture; None is the plain one


def centre(box: Box) -> tuple[float, float]:
    """The middle of `box`."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box: Box) -> float:
    """The area of `box`, 0 when it is turned inside out."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0 for boxes without area."""
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    whole = area(a) + area(b) - shared
    return shared / whole if whole > 0 else 0.0


def suppress(found: list[Detection], overlap: float) -> list[Detection]:
    """Best first; of two detections of one name that overlap by more than `overlap`, the weaker is dropped."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda d: -d.score):
        if all(one.name != other.name or iou(one.box, other.box) <= overlap for other in kept):
            kept.append(one)
    return kept


def directions(a: Box, b: Box, slack: float = 0.1) -> set[Direction]:
    """Where `a` stands as seen from `b`, by GenEval's rule (Ghosh et al. 2023, section 3.2).

    The offset of the centres is shrunk towards zero by `slack` times the boxes' summed widths (heights), then divided
    by the distance of the centres; a component beyond 0.5 counts. No direction when both components vanish.
    """
    (ax, ay), (bx, by) = centre(a), centre(b)
    dx, dy = ax - bx, ay - by
    distance = math.hypot(dx, dy)
    if distance == 0:
        return set()
    x = _shrunk(dx, slack * (a[2] - a[0] + b[2] - b[0])) / distance
    y = _shrunk(dy, slack * (a[3] - a[1] + b[3] - b[1])) / distance
    told: tuple[tuple[bool, Direction], ...] = (
        (x < -0.5, "left of"),
        (x > 0.5, "right of"),
        (y < -0.5, "above"),
        (y > 0.5, "below"),
    )
    return {direction for holds, direction in told if holds}


def _shrunk(value: float, by: float) -> float:
    return math.copysign(max(abs(value) - by, 0.0), value)
