"""Worlds whose captions tell detail: neighbours that differ in ground or place alone, and captions that say so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinxit.errors import UsageError
from pinxit.world import World
from pinxit.world.compose import compose
from pinxit.world.dice import Dice
from pinxit.world.layout_neighbours import layout_neighbours
from pinxit.world.plan import Part, ScenePlan, meaning
from pinxit.world.positions import around, where
from pinxit.world.splits import belongs
from pinxit.world.vocabulary import lexicon

DETAILED = World("gallery", "train", group=4, detail=True, seed=2)
PLAIN = World("gallery", "train", group=4, seed=2)
GROUPS = 150


def groups(world: World) -> list[list[int]]:
    return [list(range(4 * k, 4 * k + 4)) for k in range(GROUPS)]


def test_some_neighbours_are_the_same_plan_elsewhere_and_some_on_another_ground() -> None:
    moved = regrounded = 0
    for base, *others in groups(DETAILED):
        scene = DETAILED.scene(base)
        for other in map(DETAILED.scene, others):
            plan, here = meaning(other), meaning(scene)
            if plan == here:
                apart = zip(where(around(scene.items)), where(around(other.items)), strict=True)
                assert any(a and b and a != b for a, b in apart), "nobody could tell them apart"
                moved += 1
            elif replace(plan, place=here.place) == here:
                assert belongs(plan, "train")
                regrounded += 1
    assert moved > GROUPS / 5 and regrounded > GROUPS / 8


def test_without_detail_there_are_none() -> None:
    for base, *others in groups(PLAIN):
        plan = meaning(PLAIN.scene(base))
        assert all(replace(meaning(PLAIN.scene(k)), place=plan.place) != plan for k in others)


@pytest.mark.parametrize(
    "plan",
    [
        ScenePlan("style", (Part("dog", "sprite"),), style="pencil sketch"),
        ScenePlan("pair", (Part("dog", "sprite"),), lower_style="watercolour"),
    ],
    ids=lambda plan: plan.pattern,
)
def test_what_has_no_ground_of_its_own_gets_no_other(plan: ScenePlan) -> None:
    """A sketch stays on white paper whatever is said of it, and in a place with a horizon a pair would sink."""
    words = lexicon("gallery")
    for seed in range(30):
        base = compose(plan, Dice("base", seed), words)
        assert base is not None
        others = layout_neighbours(base, plan, words, "train", Dice("others", seed))
        assert {other.place for other in others} <= {"white"}


def test_captions_of_such_neighbours_differ_in_most_cases() -> None:
    """Detail is told where it is undisputed, so a neighbour that lies elsewhere is seldom called the same."""
    same = different = 0
    for base, *others in groups(DETAILED):
        for other in others:
            if meaning(DETAILED.scene(base)) == meaning(DETAILED.scene(other)):
                told = set(DETAILED.captions(base)[1:]) & set(DETAILED.captions(other)[1:])
                same, different = same + bool(told), different + (not told)
    assert different > 20 * same


def test_the_small_world_tells_no_detail_and_a_bank_without_it_goes_on() -> None:
    with pytest.raises(UsageError, match="choose gallery or full"):
        World("small", detail=True)
    assert "detail" not in World("gallery").identity() and World("gallery", detail=True).identity()["detail"] is True
