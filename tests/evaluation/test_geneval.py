"""The scorer on synthetic boxes: every rule by hand, and the world's own truth as a perfect judge would see it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinxit.errors import UsageError
from pinxit.evaluation.geneval import Rules, complaints, judgeable, overall
from pinxit.functional.boxes import Box, Detection, Sight
from pinxit.world.demands import Demand, Wanted, WantedRelation, demand
from pinxit.world.dice import Dice
from pinxit.world.neighbours import neighbours
from pinxit.world.plan import meaning
from pinxit.world.scene import Scene
from pinxit.world.tasks import TASKS
from pinxit.world.vocabulary import lexicon
from pinxit.world.world import World

LEFT, RIGHT = (0.1, 0.4, 0.3, 0.6), (0.6, 0.4, 0.8, 0.6)


def seen(*found: Detection, place: str | None = None) -> Sight:
    return Sight(found, place)


def thing(name: str, box: Box = LEFT, score: float = 0.9, colour: str | None = None, **facts: str) -> Detection:
    return Detection(name, box, score, colour, **facts)


def side_by_side(one: Detection, other: Detection) -> Sight:
    return seen(replace(one, box=LEFT), replace(other, box=RIGHT))


def test_single_object() -> None:
    wanted = Demand((Wanted("fox"),))
    assert complaints(seen(thing("fox")), wanted) == []
    assert complaints(seen(thing("cat")), wanted) == ["0 fox, not 1"]
    assert complaints(seen(thing("fox", score=0.24)), wanted) == ["0 fox, not 1"]
    assert complaints(seen(thing("fox"), thing("fox", RIGHT), thing("cat")), wanted) == []  # extras are not punished


def test_two_objects() -> None:
    wanted = Demand((Wanted("fox"), Wanted("cat")))
    assert complaints(side_by_side(thing("fox"), thing("cat")), wanted) == []
    assert complaints(side_by_side(thing("fox"), thing("fox")), wanted) == ["0 cat, not 1"]


@pytest.mark.parametrize(("there", "right"), [(2, False), (3, True), (4, False)])
def test_counting_is_exact_for_that_name_alone(there: int, right: bool) -> None:
    wanted = Demand((Wanted("fox", count=3, exactly=True),))
    foxes = [thing("fox", (i / 5, 0.0, i / 5 + 0.1, 0.1)) for i in range(there)]
    assert (complaints(seen(*foxes), wanted) == []) is right
    assert (complaints(seen(*foxes, thing("cat")), wanted) == []) is right
    without = Demand((Wanted("fox", count=3),))
    assert (complaints(seen(*foxes), without) == []) is (there >= 3)


def test_counting_may_ask_for_surer_detections() -> None:
    wanted = Demand((Wanted("fox", count=1, exactly=True),))
    sight = seen(thing("fox"), thing("fox", RIGHT, score=0.5))
    assert complaints(sight, wanted, Rules(counting=0.9)) == []
    assert complaints(sight, wanted, Rules(counting=0.3)) == ["2 fox, not 1"]


def test_every_counted_object_needs_the_colour() -> None:
    wanted = Demand((Wanted("star", "green", 2, exactly=True),))
    assert complaints(side_by_side(thing("star", colour="green"), thing("star", colour="green")), wanted) == []
    assert complaints(side_by_side(thing("star", colour="green"), thing("star", colour="red")), wanted) == [
        "star has colour red, not green"
    ]


def test_only_the_surest_objects_are_examined() -> None:
    wanted = Demand((Wanted("star", "green"),))
    sure, unsure = thing("star", colour="red", score=0.9), thing("star", RIGHT, 0.8, "green")
    assert complaints(seen(sure, unsure), wanted) != []
    assert complaints(seen(replace(sure, score=0.7), unsure), wanted) == []


def test_colour_attribution() -> None:
    wanted = Demand((Wanted("cube", "red"), Wanted("star", "blue")))
    assert complaints(side_by_side(thing("cube", colour="red"), thing("star", colour="blue")), wanted) == []
    swapped = side_by_side(thing("cube", colour="blue"), thing("star", colour="red"))
    assert len(complaints(swapped, wanted)) == 2


def test_two_phrases_of_one_name_share_its_objects_in_either_way() -> None:
    wanted = Demand((Wanted("cube", "red"), Wanted("cube", "blue")), (WantedRelation(0, "left of", 1),))
    red, blue = thing("cube", colour="red", score=0.5), thing("cube", colour="blue", score=0.9)
    assert complaints(side_by_side(red, blue), wanted) == []
    assert complaints(side_by_side(blue, red), wanted) == ["cube is not left of the cube"]
    assert complaints(seen(red), wanted) == ["1 cube, not 2"]


@pytest.mark.parametrize(
    ("box", "holds"),
    [
        # Boxes of side 0.2 shrink an offset by 0.1 * (0.2 + 0.2) = 0.04 along each axis.
        ((0.1, 0.4, 0.3, 0.6), {"left of"}),  # offset (-0.5, 0): (-0.46, 0) / 0.5 = (-0.92, 0)
        ((0.59, 0.4, 0.79, 0.6), set()),  # (-0.01, 0) shrinks to nothing
        ((0.53, 0.4, 0.73, 0.6), set()),  # (-0.07, 0): -0.03 / 0.07 = -0.43
        ((0.5, 0.4, 0.7, 0.6), {"left of"}),  # (-0.1, 0): -0.06 / 0.1 = -0.6
        ((0.3, 0.1, 0.5, 0.3), {"left of", "above"}),  # (-0.3, -0.3): -0.26 / 0.424 = -0.61 both ways
        ((0.6, 0.8, 0.8, 1.0), {"below"}),
        ((0.8, 0.4, 1.0, 0.6), {"right of"}),
    ],
)
def test_position_follows_genevals_rule(box: Box, holds: set[str]) -> None:
    sight = seen(thing("fox", box), thing("cat", RIGHT))
    told = set()
    for name in ("left of", "right of", "above", "below"):
        wanted = Demand((Wanted("fox"), Wanted("cat")), (WantedRelation(0, name, 1),))
        if not complaints(sight, wanted):
            told.add(name)
    assert told == holds


def test_sizes_compare_or_stand_alone() -> None:
    small, big = thing("cube", (0.4, 0.2, 0.6, 0.4)), thing("star", (0.3, 0.4, 0.7, 0.8))
    wanted = Demand((Wanted("cube", size="small"), Wanted("star", size="big")))
    assert complaints(seen(small, big), wanted) == []
    assert complaints(seen(replace(small, box=big.box), big), wanted) == ["big and small are alike"]
    assert complaints(seen(small), Demand((Wanted("cube", size="small"),))) == []
    assert complaints(seen(small), Demand((Wanted("cube", size="big"),))) == ["too small to be big"]
    assert complaints(seen(replace(small, box=(0, 0, 1, 1))), Demand((Wanted("cube", size="small"),))) == [
        "too large to be small"
    ]


def test_form_style_and_ground() -> None:
    clock = thing("clock", colour="green", form="triangle", style="pencil sketch")
    assert complaints(seen(clock), Demand((Wanted("clock", "green", form="triangle"),), style="pencil sketch")) == []
    assert complaints(seen(clock), Demand((Wanted("clock", form="star"),))) == ["clock has form triangle, not star"]
    assert complaints(seen(clock, place="snow"), Demand((Wanted("clock"),), place="beach")) == [
        "ground is snow, not beach"
    ]


def test_a_pair_needs_both_halves() -> None:
    wanted = Demand((Wanted("cat"),), lower_style="pencil sketch")
    upper, lower = thing("cat", (0.3, 0.1, 0.5, 0.4)), thing("cat", (0.3, 0.6, 0.5, 0.9), style="pencil sketch")
    assert complaints(seen(upper, lower), wanted) == []
    assert complaints(seen(upper), wanted) == ["below: 0 cat, not 1"]
    assert complaints(seen(upper, replace(lower, style=None)), wanted) == [
        "below: cat has style None, not pencil sketch"
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        Demand((Wanted("sign", words="HELLO"),)),
        Demand((Wanted("fox", outfit=(("red", "hat"),)),)),
        Demand((Wanted("fox"),), view="fisheye"),
        Demand((Wanted("fox"),), light="rain"),
    ],
)
def test_what_cannot_be_seen_is_not_judged_as_if_it_were(wanted: Demand) -> None:
    assert not judgeable(wanted)
    with pytest.raises(UsageError, match="cannot read words"):
        complaints(seen(thing("sign"), thing("fox")), wanted)


def test_overall_is_the_mean_over_tasks_not_over_pictures() -> None:
    scores = {task: [True] for task in TASKS} | {"counting": [False] * 9 + [True]}
    assert overall(scores) == pytest.approx((5 + 0.1) / 6)
    assert overall(scores | {"style": [False]}) == overall(scores)  # extras do not count
    with pytest.raises(UsageError, match="position"):
        overall({task: right for task, right in scores.items() if task != "position"})


def perfect(scene: Scene) -> Sight:
    """What a judge that never errs would see."""
    copies = [(0.0, scene.style)] + ([(0.5, scene.lower_style)] if scene.lower_style else [])
    found: list[Detection] = []
    for down, style in copies:
        for item in scene.items:
            x0, y0, x1, y1 = item.box
            box = (x0, y0 + down, x1, y1 + down)
            found.append(Detection(item.name, box, 1 - 0.01 * len(found), item.colour, item.form, style))
    return Sight(tuple(found), scene.place)


def test_truth_is_accepted_and_every_hard_neighbour_rejected() -> None:
    """Over all patterns of the world: one changed fact is enough."""
    words, patterns, refused = lexicon("small"), set(), 0
    world = World("small", "unseen")
    for index in range(250):
        scene = world.scene(index)
        patterns.add(scene.pattern)
        assert complaints(perfect(scene), demand(scene)) == [], scene
        for other in neighbours(scene, meaning(scene), words, "unseen", Dice("test", index), 1) or []:
            assert complaints(perfect(other), demand(scene)) != [], (scene, other)
            refused += 1
    assert {task.replace(" ", "_") for task in TASKS} <= patterns and refused > 200
