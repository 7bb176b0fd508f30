"""The scorer on synthetic boxes: every rule by hand, and the world's own truth as a perfect judge would see it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pinxit.errors import UsageError
from pinxit.evaluation.geneval import ScorerThresholds, complaints, needs, overall
from pinxit.functional.boxes import Box, Detection, Detections
from pinxit.world.dice import Dice
from pinxit.world.expectations import ExpectedObject, ExpectedRelation, ExpectedScene, demand
from pinxit.world.neighbours import neighbours
from pinxit.world.plan import meaning
from pinxit.world.scene import Scene
from pinxit.world.tasks import EXTRAS, TASKS
from pinxit.world.vocabulary import PresetName, lexicon
from pinxit.world.world import World

LEFT, RIGHT = (0.1, 0.4, 0.3, 0.6), (0.6, 0.4, 0.8, 0.6)


def seen(*found: Detection, place: str | None = None) -> Detections:
    return Detections(found, place)


def thing(name: str, box: Box = LEFT, score: float = 0.9, colour: str | None = None, **facts: Any) -> Detection:
    return Detection(name, box, score, colour, **facts)


def side_by_side(one: Detection, other: Detection) -> Detections:
    return seen(replace(one, box=LEFT), replace(other, box=RIGHT))


def test_single_object() -> None:
    expected = ExpectedScene((ExpectedObject("fox"),))
    assert complaints(seen(thing("fox")), expected) == []
    assert complaints(seen(thing("cat")), expected) == ["0 fox, not 1"]
    assert complaints(seen(thing("fox", score=0.24)), expected) == ["0 fox, not 1"]
    assert complaints(seen(thing("fox"), thing("fox", RIGHT), thing("cat")), expected) == []  # extras are not punished


def test_two_objects() -> None:
    expected = ExpectedScene((ExpectedObject("fox"), ExpectedObject("cat")))
    assert complaints(side_by_side(thing("fox"), thing("cat")), expected) == []
    assert complaints(side_by_side(thing("fox"), thing("fox")), expected) == ["0 cat, not 1"]


@pytest.mark.parametrize(("there", "right"), [(2, False), (3, True), (4, False)])
def test_counting_is_exact_for_that_name_alone(there: int, right: bool) -> None:
    expected = ExpectedScene((ExpectedObject("fox", count=3, exactly=True),))
    foxes = [thing("fox", (i / 5, 0.0, i / 5 + 0.1, 0.1)) for i in range(there)]
    assert (complaints(seen(*foxes), expected) == []) is right
    assert (complaints(seen(*foxes, thing("cat")), expected) == []) is right
    without = ExpectedScene((ExpectedObject("fox", count=3),))
    assert (complaints(seen(*foxes), without) == []) is (there >= 3)


def test_counting_may_ask_for_surer_detections() -> None:
    expected = ExpectedScene((ExpectedObject("fox", count=1, exactly=True),))
    detections = seen(thing("fox"), thing("fox", RIGHT, score=0.5))
    assert complaints(detections, expected, ScorerThresholds(counting=0.9)) == []
    assert complaints(detections, expected, ScorerThresholds(counting=0.3)) == ["2 fox, not 1"]


def test_every_counted_object_needs_the_colour() -> None:
    expected = ExpectedScene((ExpectedObject("star", "green", 2, exactly=True),))
    assert complaints(side_by_side(thing("star", colour="green"), thing("star", colour="green")), expected) == []
    assert complaints(side_by_side(thing("star", colour="green"), thing("star", colour="red")), expected) == [
        "star has colour red, not green"
    ]


def test_only_the_surest_objects_are_examined() -> None:
    expected = ExpectedScene((ExpectedObject("star", "green"),))
    sure, unsure = thing("star", colour="red", score=0.9), thing("star", RIGHT, 0.8, "green")
    assert complaints(seen(sure, unsure), expected) != []
    assert complaints(seen(replace(sure, score=0.7), unsure), expected) == []


def test_colour_attribution() -> None:
    expected = ExpectedScene((ExpectedObject("cube", "red"), ExpectedObject("star", "blue")))
    assert complaints(side_by_side(thing("cube", colour="red"), thing("star", colour="blue")), expected) == []
    swapped = side_by_side(thing("cube", colour="blue"), thing("star", colour="red"))
    assert len(complaints(swapped, expected)) == 2


def test_two_phrases_of_one_name_share_its_objects_in_either_way() -> None:
    expected = ExpectedScene(
        (ExpectedObject("cube", "red"), ExpectedObject("cube", "blue")), (ExpectedRelation(0, "left of", 1),)
    )
    red, blue = thing("cube", colour="red", score=0.5), thing("cube", colour="blue", score=0.9)
    assert complaints(side_by_side(red, blue), expected) == []
    assert complaints(side_by_side(blue, red), expected) == ["cube is not left of the cube"]
    assert complaints(seen(red), expected) == ["1 cube, not 2"]


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
    detections = seen(thing("fox", box), thing("cat", RIGHT))
    told = set()
    for name in ("left of", "right of", "above", "below"):
        expected = ExpectedScene((ExpectedObject("fox"), ExpectedObject("cat")), (ExpectedRelation(0, name, 1),))
        if not complaints(detections, expected):
            told.add(name)
    assert told == holds


def test_sizes_compare_or_stand_alone() -> None:
    small, big = thing("cube", (0.4, 0.2, 0.6, 0.4)), thing("star", (0.3, 0.4, 0.7, 0.8))
    expected = ExpectedScene((ExpectedObject("cube", size="small"), ExpectedObject("star", size="big")))
    assert complaints(seen(small, big), expected) == []
    assert complaints(seen(replace(small, box=big.box), big), expected) == ["big and small are alike"]
    assert complaints(seen(small), ExpectedScene((ExpectedObject("cube", size="small"),))) == []
    assert complaints(seen(small), ExpectedScene((ExpectedObject("cube", size="big"),))) == ["too small to be big"]
    assert complaints(
        seen(replace(small, box=(0, 0, 1, 1))), ExpectedScene((ExpectedObject("cube", size="small"),))
    ) == ["too large to be small"]


def test_sizes_at_the_limits_are_accepted() -> None:
    small, big = thing("cube", (0.0, 0.0, 0.25, 0.25)), thing("star", (0.5, 0.5, 1.0, 1.0))
    limits = ScorerThresholds(ratio=2.0, small=0.25, big=0.5)
    wanted = (ExpectedObject("cube", size="small"), ExpectedObject("star", size="big"))
    for detected, objects in (((small, big), wanted), ((small,), wanted[:1]), ((big,), wanted[1:])):
        assert complaints(seen(*detected), ExpectedScene(objects), limits) == []
    assert complaints(seen(small, big), ExpectedScene(wanted), replace(limits, ratio=2.01))


def test_form_style_and_ground() -> None:
    clock = thing("clock", colour="green", form="triangle", style="pencil sketch")
    assert (
        complaints(
            seen(clock), ExpectedScene((ExpectedObject("clock", "green", form="triangle"),), style="pencil sketch")
        )
        == []
    )
    assert complaints(seen(clock), ExpectedScene((ExpectedObject("clock", form="star"),))) == [
        "clock has form triangle, not star"
    ]
    assert complaints(seen(clock, place="snow"), ExpectedScene((ExpectedObject("clock"),), place="beach")) == [
        "ground is snow, not beach"
    ]


def test_a_pair_needs_both_halves() -> None:
    expected = ExpectedScene((ExpectedObject("cat"),), lower_style="pencil sketch")
    upper, lower = thing("cat", (0.3, 0.1, 0.5, 0.4)), thing("cat", (0.3, 0.6, 0.5, 0.9), style="pencil sketch")
    assert complaints(seen(upper, lower), expected) == []
    assert complaints(seen(upper), expected) == ["below: 0 cat, not 1"]
    assert complaints(seen(upper, replace(lower, style=None)), expected) == ["below: cat has no style pencil sketch"]


EVERYTHING = frozenset({"words", "outfit", "material", "shape", "link", "view", "light"})
FAR, NEAR = (0.4, 0.4, 0.6, 0.6), (0.0, 0.02, 1.0, 0.98)
RIDER, MOUNT = (0.3, 0.1, 0.6, 0.5), (0.2, 0.35, 0.8, 0.9)


def linked(one: Detection, other: Detection, name: str, sure: float = 0.9) -> tuple[Detection, Detection]:
    return replace(one, does=((name, sure),)), replace(other, undergoes=((name, sure),))


@pytest.mark.parametrize(
    ("expected", "right", "wrong", "complaint"),
    [
        (
            ExpectedScene((ExpectedObject("sign", words="HELLO"),)),
            seen(replace(thing("sign"), words="HELLO")),
            seen(replace(thing("sign"), words="HELLQ")),
            "sign has words HELLQ, not HELLO",
        ),
        (
            ExpectedScene((ExpectedObject("sign", words="NO"),)),
            seen(thing("sign", words="NO")),
            seen(thing("sign")),
            "sign has no words NO",
        ),
        (
            ExpectedScene((ExpectedObject("fox", outfit=(("red", "hat"), ("blue", "scarf"))),)),
            seen(replace(thing("fox"), outfit=(("blue", "scarf"), ("red", "hat"), ("green", "boots")))),
            seen(replace(thing("fox"), outfit=(("red", "scarf"), ("red", "hat")))),
            "fox wears a red scarf, not a blue one",
        ),
        (
            ExpectedScene((ExpectedObject("radish", outfit=(("", "tutu"),)),)),
            seen(replace(thing("radish"), outfit=(("purple", "tutu"),))),
            seen(replace(thing("radish"), outfit=(("purple", "hat"),))),
            "radish wears no tutu",
        ),
        (
            ExpectedScene((ExpectedObject("snail", material="harp"),)),
            seen(thing("snail", material="harp")),
            seen(thing("snail", material="book")),
            "snail has material book, not harp",
        ),
        (
            ExpectedScene((ExpectedObject("armchair", form="avocado"),)),
            seen(thing("armchair", form="avocado")),
            seen(thing("armchair", form="circle"), thing("avocado", RIGHT)),
            "armchair has form circle, not avocado",
        ),
        (
            ExpectedScene((ExpectedObject("fox"),), view="fisheye"),
            replace(seen(thing("fox")), view="fisheye"),
            replace(seen(thing("fox")), view="close-up"),
            "view is close-up, not fisheye",
        ),
        (  # on a plain ground only the size tells
            ExpectedScene((ExpectedObject("fox"),), view="from afar"),
            seen(thing("fox", FAR)),
            seen(thing("fox", NEAR)),
            "view is the usual one, not from afar",
        ),
        (
            ExpectedScene((ExpectedObject("fox"),), view="close-up"),
            seen(thing("fox", NEAR)),
            seen(thing("fox", FAR)),
            "view is the usual one, not close-up",
        ),
        (
            ExpectedScene((ExpectedObject("fox"),), view="from afar"),
            replace(seen(thing("fox", NEAR)), view="from afar"),
            replace(seen(thing("fox", FAR)), view="upside down"),
            "view is upside down, not from afar",
        ),
        (
            ExpectedScene((ExpectedObject("fox"),), light="rain"),
            replace(seen(thing("fox")), light="rain"),
            replace(seen(thing("fox")), light="snowfall"),
            "light is snowfall, not rain",
        ),
        (
            ExpectedScene((ExpectedObject("fox"),), light="rain"),
            replace(seen(thing("fox")), light="rain"),
            seen(thing("fox")),
            "light is the usual one, not rain",
        ),
        (
            ExpectedScene((ExpectedObject("fox"),), place="beach"),
            seen(thing("fox"), place="beach"),
            seen(thing("fox")),
            "ground is unknown, not beach",
        ),
        (
            ExpectedScene(
                (ExpectedObject("fox"), ExpectedObject("horse")), (ExpectedRelation(0, "riding", 1),), style="neon"
            ),
            seen(*linked(thing("fox", RIDER, style="neon"), thing("horse", MOUNT, style="neon"), "riding")),
            seen(*linked(thing("fox", RIDER, style="neon"), thing("horse", MOUNT), "riding")),
            "horse has no style neon",
        ),
        (  # above and overlapping, but on the ground behind it
            ExpectedScene((ExpectedObject("fox"), ExpectedObject("horse")), (ExpectedRelation(0, "riding", 1),)),
            seen(*linked(thing("fox", RIDER), thing("horse", MOUNT), "riding", 0.6)),
            seen(*linked(thing("fox", RIDER), thing("horse", MOUNT), "behind")),
            "fox is not riding the horse",
        ),
        (  # overlap is the same both ways round
            ExpectedScene((ExpectedObject("fox"), ExpectedObject("horse")), (ExpectedRelation(0, "behind", 1),)),
            seen(*linked(thing("fox", RIDER), thing("horse", MOUNT), "behind")),
            seen(*linked(thing("horse", MOUNT), thing("fox", RIDER), "behind")),
            "fox is not behind the horse",
        ),
        (
            ExpectedScene((ExpectedObject("fox"), ExpectedObject("dog")), (ExpectedRelation(0, "walking", 1),)),
            seen(*linked(thing("fox", LEFT), thing("dog", RIGHT), "walking")),
            seen(thing("fox", LEFT), thing("dog", RIGHT)),
            "fox is not walking the dog",
        ),
        (  # a leash, but one of them in the air
            ExpectedScene((ExpectedObject("fox"), ExpectedObject("dog")), (ExpectedRelation(0, "walking", 1),)),
            seen(*linked(thing("fox", LEFT), thing("dog", RIGHT), "walking")),
            seen(*linked(thing("fox", LEFT), thing("dog", (0.6, 0.1, 0.8, 0.3)), "walking")),
            "fox is not walking the dog",
        ),
        (
            ExpectedScene((ExpectedObject("fox"), ExpectedObject("cup of tea")), (ExpectedRelation(0, "drinking", 1),)),
            seen(*linked(thing("fox", (0.1, 0.1, 0.6, 0.9)), thing("cup of tea", (0.5, 0.4, 0.7, 0.6)), "drinking")),
            seen(*linked(thing("fox", (0.1, 0.1, 0.6, 0.9)), thing("cup of tea", (0.5, 0.4, 0.7, 0.6)), "making")),
            "fox is not drinking the cup of tea",
        ),
        (
            ExpectedScene((ExpectedObject("fox"), ExpectedObject("cup of tea")), (ExpectedRelation(0, "making", 1),)),
            seen(*linked(thing("fox", (0.1, 0.1, 0.6, 0.9)), thing("cup of tea", (0.5, 0.7, 0.7, 0.9)), "making")),
            seen(*linked(thing("fox", (0.1, 0.1, 0.6, 0.9)), thing("cup of tea", (0.5, 0.7, 0.7, 0.9)), "making", 0.4)),
            "fox is not making the cup of tea",
        ),
    ],
)
def test_every_fact_of_the_gallery(
    expected: ExpectedScene, right: Detections, wrong: Detections, complaint: str
) -> None:
    assert complaints(replace(right, attributes=EVERYTHING), expected) == []
    (told,) = complaints(replace(wrong, attributes=EVERYTHING), expected)
    assert "None" not in told
    assert told.startswith(complaint)


def test_who_tells_no_links_judges_riding_and_behind_by_boxes_alone() -> None:
    for name in ("riding", "behind"):
        expected = ExpectedScene((ExpectedObject("fox"), ExpectedObject("horse")), (ExpectedRelation(0, name, 1),))
        detections = seen(thing("fox", RIDER), thing("horse", MOUNT))
        assert (
            complaints(detections, expected) == []
            and complaints(replace(detections, attributes=EVERYTHING), expected) != []
        )


@pytest.mark.parametrize(
    ("expected", "needed"),
    [
        (ExpectedScene((ExpectedObject("sign", words="HELLO"),)), "words"),
        (ExpectedScene((ExpectedObject("fox", outfit=(("red", "hat"),)),)), "outfit"),
        (ExpectedScene((ExpectedObject("snail", material="harp"),)), "material"),
        (ExpectedScene((ExpectedObject("armchair", form="avocado"),)), "shape"),
        (ExpectedScene((ExpectedObject("fox"),), view="fisheye"), "view"),
        (ExpectedScene((ExpectedObject("fox"),), light="rain"), "light"),
        (ExpectedScene((ExpectedObject("fox"), ExpectedObject("dog")), (ExpectedRelation(0, "walking", 1),)), "link"),
    ],
)
def test_what_cannot_be_seen_is_not_judged_as_if_it_were(expected: ExpectedScene, needed: str) -> None:
    assert needed in needs(expected) <= EVERYTHING
    plain, beside = ExpectedObject("dog"), ExpectedRelation(0, "left of", 1)  # beside which it is asked for, too
    more = replace(expected, objects=(*expected.objects, plain), relations=(*expected.relations, beside))
    assert needs(more) == needs(expected)
    detections = seen(thing("sign"), thing("fox"), thing("snail"), thing("armchair"), thing("dog"))
    with pytest.raises(UsageError, match=f"does not report {needed}"):
        complaints(replace(detections, attributes=EVERYTHING - {needed}), expected)


def test_overall_is_the_mean_over_tasks_not_over_pictures() -> None:
    scores = {task: [True] for task in TASKS} | {"counting": [False] * 9 + [True]}
    assert overall(scores) == pytest.approx((5 + 0.1) / 6)
    assert overall(scores | {"style": [False]}) == overall(scores)  # extras do not count
    with pytest.raises(UsageError, match="position"):
        overall({task: right for task, right in scores.items() if task != "position"})


def perfect(scene: Scene) -> Detections:
    """What a judge that never errs would see."""
    copies = [(0.0, scene.style)] + ([(0.5, scene.lower_style)] if scene.lower_style else [])
    found: list[Detection] = []
    for down, style in copies:
        for index, item in enumerate(scene.items):
            x0, y0, x1, y1 = (min(max(edge, 0.0), 1.0) for edge in item.box)
            one = Detection(
                item.name,
                (x0, y0 + down, x1, y1 + down),
                1 - 0.01 * len(found),
                item.colour,
                item.form,
                style,
                item.material,
                tuple((colour or "pink", garment) for colour, garment in item.outfit),
                item.words,
                tuple((r.name, 1.0) for r in scene.relations if r.subject == index),
                tuple((r.name, 1.0) for r in scene.relations if r.object == index),
            )
            found.append(one)
    return Detections(tuple(found), scene.place, scene.view, scene.light, EVERYTHING)


@pytest.mark.parametrize(("preset", "count"), [("small", 250), ("gallery", 600)])
def test_truth_is_accepted_and_every_hard_neighbour_rejected(preset: PresetName, count: int) -> None:
    """Over all patterns of the world: one changed fact is enough."""
    words, patterns, refused = lexicon(preset), set(), 0
    world = World(preset, "unseen")
    for index in range(count):
        scene = world.scene(index)
        patterns.add(scene.pattern)
        assert complaints(perfect(scene), demand(scene)) == [], scene
        for other in neighbours(scene, meaning(scene), words, "unseen", Dice("test", index), 1) or []:
            assert complaints(perfect(other), demand(scene)) != [], (scene, other)
            refused += 1
    assert {task.replace(" ", "_") for task in (*TASKS, *EXTRAS[preset])} <= patterns and refused > 0.8 * count
