"""What a picture promises: sizes, gaps, nothing cut off, relations without dispute, colours apart."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from pinxit.world import World
from pinxit.world.compose import aspect
from pinxit.world.expectations import demand, satisfied, stands_so
from pinxit.world.layout import GRID, MARGIN
from pinxit.world.plan import meaning
from pinxit.world.scene import Box, Scene
from pinxit.world.vocabulary import apart, lexicon, stands_out

MEETING = {"on top of", "riding", "inside", "behind"}


def scenes(preset: Any, split: Any, count: int) -> list[Scene]:
    return [World(preset, split).scene(index) for index in range(count)]


@pytest.fixture(scope="module", params=["small", "full"])
def some(request: pytest.FixtureRequest) -> list[Scene]:
    many = 1 if request.param == "full" else 2
    return scenes(request.param, "train", 1200 * many) + scenes(request.param, "unseen", 400 * many)


def pixels(box: Box) -> tuple[int, int, int, int]:
    values = [64 * v for v in box]
    assert values == [int(v) for v in values], "a box edge that is not a whole 64th"
    return int(values[0]), int(values[1]), int(values[2]), int(values[3])


def gap(one: Box, other: Box) -> float:
    """64ths between two boxes along the axis on which they are further apart; negative where they overlap."""
    a, b = pixels(one), pixels(other)
    return max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3])


def test_objects_lie_inside_the_frame_and_are_large_enough_to_read(some: list[Scene]) -> None:
    thin = 0
    for scene in some:
        if scene.view == "close-up":
            continue
        bottom = GRID // 2 if scene.lower_style else GRID
        for item in scene.items:
            x0, y0, x1, y1 = pixels(item.box)
            assert x0 >= MARGIN and y0 >= MARGIN and x1 <= GRID - MARGIN and y1 <= bottom - MARGIN
            assert min(x1 - x0, y1 - y0) >= 10
            thin += min(x1 - x0, y1 - y0) < 12
    assert thin < 0.04 * sum(len(scene.items) for scene in some)


def test_objects_keep_their_natural_proportions(some: list[Scene]) -> None:
    for scene in some:
        for item in scene.items:
            x0, y0, x1, y1 = pixels(item.box)
            natural = aspect(item.name, item.kind, item.form, item.artist, item.outfit)
            assert (x1 - x0 + 1) / (y1 - y0 - 1) > natural > (x1 - x0 - 1) / (y1 - y0 + 1)


def test_objects_do_not_touch_unless_the_caption_says_so(some: list[Scene]) -> None:
    for scene in some:
        if len(scene.items) == 4 and scene.relations:  # two riders beside each other
            continue
        joined = {frozenset((r.subject, r.object)) for r in scene.relations if r.name in MEETING}
        for i, j in combinations(range(len(scene.items)), 2):
            if frozenset((i, j)) not in joined:
                assert gap(scene.items[i].box, scene.items[j].box) >= (0 if joined else 2), scene


def test_relations_hold_without_dispute(some: list[Scene]) -> None:
    """By GenEval's rule, and no second direction could be claimed for left, right, above or below."""
    for scene in some:
        assert satisfied(scene, demand(scene))
        for relation in scene.relations:
            if relation.name in ("inside", "behind", "riding"):
                continue
            one, other = scene.items[relation.subject].box, scene.items[relation.object].box
            assert stands_so(one, relation.name, other), scene
            across = ("above", "below") if relation.name in ("left of", "right of") else ("left of", "right of")
            assert not any(stands_so(one, side, other) for side in across)  # type: ignore[arg-type]


def test_what_stands_on_something_touches_it_and_is_centred(some: list[Scene]) -> None:
    seen = 0
    for scene in some:
        for relation in scene.relations:
            if relation.name != "on top of":
                continue
            seen += 1
            upper, lower = pixels(scene.items[relation.subject].box), pixels(scene.items[relation.object].box)
            assert 0 <= upper[3] - lower[1] <= 0.2 * (lower[3] - lower[1]) + 1
            assert abs(upper[0] + upper[2] - lower[0] - lower[2]) <= 6
            assert scene.items[relation.subject].depth > scene.items[relation.object].depth
    assert seen > 60


def test_small_and_big_differ_clearly(some: list[Scene]) -> None:
    def area(box: Box) -> float:
        return (box[2] - box[0]) * (box[3] - box[1])

    for scene in some:
        small = [area(item.box) for item in scene.items if item.size == "small"]
        big = [area(item.box) for item in scene.items if item.size == "big"]
        if small and big:
            assert min(big) > 1.9 * max(small)
        elif small and len(scene.items) == 1:
            assert small[0] < 0.12
        elif big and len(scene.items) == 1:
            assert big[0] > 0.3


def test_colours_are_told_apart_and_stand_out(some: list[Scene]) -> None:
    for scene in some:
        colours = {item.colour for item in scene.items if item.colour}
        assert all(apart(a, b) for a, b in combinations(colours, 2))
        assert all(stands_out(colour, scene.place) for colour in colours) or scene.style


def test_one_object_is_large_and_positions_are_everywhere() -> None:
    """A model can learn places only if things are met in all of them."""
    world = World()
    alone = [s.items[0].box for s in map(world.scene, range(6000)) if len(s.items) == 1 and s.items[0].size is None]
    sides = [max(b[2] - b[0], b[3] - b[1]) * 64 for b in alone]
    assert sum(side >= 24 for side in sides) > 0.9 * len(sides)
    centres = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in alone]
    cells = {(int(x * 4), int(y * 4)) for x, y in centres}
    assert {(1, 1), (2, 1), (1, 2), (2, 2)} <= cells and len(cells) >= 10


def test_a_plan_and_its_scene_say_the_same(some: list[Scene]) -> None:
    from pinxit.world.compose import compose
    from pinxit.world.dice import Dice

    for number, scene in enumerate(some[::10]):
        plan = meaning(scene)
        words = lexicon("full" if any(i.name not in lexicon("small").nouns for i in scene.items) else "small")
        again = compose(plan, Dice("again", number), words)
        assert again is None or meaning(again) == plan
