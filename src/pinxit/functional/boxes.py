"""What a judge detects in a picture, as plain values, and the geometry of boxes.

Coordinates are fractions of the picture side, x to the right and y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing that a judge found."""

    name: str
    box: Box
    score: float  # confidence, 0 to 1
    colour: str | None = None  # the likeliest colour term; None from a judge without colours
    form: str | None = None  # the likeliest outline of a made thing
    style: str | None = None  # how it is drawn; None is the plain style
    material: str | None = None  # the other thing that it is made of
    outfit: tuple[tuple[str, str], ...] = ()  # (colour, garment)
    words: str | None = None  # what is written on it
    does: tuple[tuple[str, float], ...] = ()  # ("riding", 0.9): how surely it does this to another
    undergoes: tuple[tuple[str, float], ...] = ()  # ("riding", 0.9): how surely another does this to it


@dataclass(frozen=True, slots=True)
class Detections:
    """Everything that a judge detected in one picture."""

    found: tuple[Detection, ...]
    place: str | None = None  # the likeliest ground; None from a judge without grounds
    view: str | None = None  # None is the usual one
    light: str | None = None
    attributes: frozenset[str] = frozenset()  # what the judge predicts besides names, colours, styles, forms, grounds


def area(box: Box) -> float:
    """The area of `box`, 0 when it is turned inside out."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0 for boxes without area."""
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    whole = area(a) + area(b) - shared
    return shared / whole if whole > 0 else 0.0


def suppress(detections: list[Detection], overlap: float) -> list[Detection]:
    """Best first; of two detections of one name that overlap by more than `overlap`, the weaker is dropped."""
    kept: list[Detection] = []
    for one in sorted(detections, key=lambda d: -d.score):
        if all(one.name != other.name or iou(one.box, other.box) <= overlap for other in kept):
            kept.append(one)
    return kept
