"""Clear-cut positions ("in the corner") and sizes ("big") read from a scene's boxes.

Plans do not have them; captions that are rich in detail mention them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import sqrt

from pinxit.world.plan import ScenePlan, Size, meaning
from pinxit.world.scene import Box, Item, Scene

# An object is on the left where its centre is at most SIDE from that edge and its far edge at most REACH.
SIDE, REACH = 0.36, 0.6
MIDDLE = 0.05  # a centre at most this far from the middle is in the middle
CORNER, CORNER_REACH = 0.3, 0.5  # the same for a corner, for both of its edges
SMALL, BIG = 17.5 / 64, 46.5 / 64  # geometric mean of the sides of one object: up to SMALL is small, from BIG on big
RATIO = 1.6  # of two objects' sizes, from which one is called small and the other big
# Relations between objects whose sizes are compared: a penguin is not called big because its coffee is small.
APART = ("left of", "right of", "above", "below", "on top of")

Where = tuple[str, str]  # "left", "right", "middle" or "" across; "top", "bottom", "middle" or "" down


def where(box: Box) -> Where:
    """Where this box is, across and down; "" where that is not clear-cut."""
    across = _along(box[0], box[2], "left", "right")
    down = _along(box[1], box[3], "top", "bottom")
    return across, down


def _along(low: float, high: float, first: str, last: str) -> str:
    centre = (low + high) / 2
    if centre <= SIDE and high <= REACH:
        return first
    if centre >= 1 - SIDE and low >= 1 - REACH:
        return last
    return "middle" if abs(centre - 0.5) <= MIDDLE else ""


def in_corner(box: Box) -> bool:
    """Whether all of it lies in one quarter of the picture, near the corner."""
    return _in_end(box[0], box[2]) and _in_end(box[1], box[3])


def _in_end(low: float, high: float) -> bool:
    centre = (low + high) / 2
    return (centre <= CORNER and high <= CORNER_REACH) or (centre >= 1 - CORNER and low >= 1 - CORNER_REACH)


def around(items: Iterable[Item]) -> Box:
    """The box around several items."""
    boxes = [item.box for item in items]
    return min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)


def seen_in_place(scene: Scene) -> bool:
    """Whether things appear where their boxes are: not so with a fisheye, a close-up or a pair of pictures."""
    return scene.view not in ("fisheye", "close-up") and scene.lower_style is None


def sizes(scene: Scene) -> list[Size | None]:
    """For each item its size by its box; None where that is not clear-cut, or where the plan itself states sizes."""
    nothing: list[Size | None] = [None] * len(scene.items)
    if any(item.size for item in scene.items) or scene.view is not None or not seen_in_place(scene):
        return nothing
    if any(relation.name not in APART for relation in scene.relations):
        return nothing
    extents = [sqrt((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in (item.box for item in scene.items)]
    if len(extents) == 1:
        return ["small" if extents[0] <= SMALL else "big" if extents[0] >= BIG else None]
    if len(extents) != 2 or not scene.relations or max(extents) < RATIO * min(extents):
        return nothing
    return ["small", "big"] if extents[0] < extents[1] else ["big", "small"]


def with_sizes(scene: Scene) -> ScenePlan:
    """The scene's plan, with the sizes that can be read from its boxes."""
    plan, words = meaning(scene), sizes(scene)
    if not any(words):
        return plan
    return replace(plan, parts=tuple(replace(part, size=size) for part, size in zip(plan.parts, words, strict=True)))
