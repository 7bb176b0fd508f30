"""What a scene's boxes tell without dispute: where in the picture something lies, and whether it is small or big.

The plan says nothing of these; captions that are rich in detail do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import sqrt

from pinxit.world.plan import ScenePlan, Size, meaning
from pinxit.world.scene import Box, Item, Scene

# Centres on a side: at most this far from its edge, and the thing does not reach far across the middle.
SIDE, REACH = 0.36, 0.6
MIDDLE = 0.05  # a centre at most this far from the middle is in the middle
CORNER, CORNER_REACH = 0.3, 0.5  # so near to two edges, and all of it in that quarter
SMALL, BIG = 17.5 / 64, 46.5 / 64  # the geometric mean of the sides: the plan's "small" and "big" lie beyond
RATIO = 1.6  # of two things' sizes, from which one is called small and the other big
# Relations whose captions tell sizes: nobody says that a penguin is big because its coffee is small.
APART = ("left of", "right of", "above", "below", "on top of")

Where = tuple[str, str]  # "left", "right", "middle" or "" across; "top", "bottom", "middle" or "" down


def where(box: Box) -> Where:
    """Where this box lies; "" where that may be disputed."""
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
    """Whether boxes say where things are seen: not under a lens, beyond the frame or in a pair of pictures."""
    return scene.view not in ("fisheye", "close-up") and scene.lower_style is None


def sizes(scene: Scene) -> list[Size | None]:
    """For each item the size that its box alone gives it, None where that may be disputed or the plan tells sizes."""
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
    """What the scene means, and what its boxes alone say of sizes."""
    plan, words = meaning(scene), sizes(scene)
    if not any(words):
        return plan
    return replace(plan, parts=tuple(replace(part, size=size) for part, size in zip(plan.parts, words, strict=True)))
