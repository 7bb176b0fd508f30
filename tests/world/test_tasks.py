"""The judge's tasks, and what a caption demands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pinxit.errors import UsageError
from pinxit.world.expectations import ExpectedObject, ExpectedRelation, ExpectedScene, demand, satisfied, stands_so
from pinxit.world.plan import meaning
from pinxit.world.scene import Item, Relation, Scene
from pinxit.world.splits import belongs
from pinxit.world.tasks import EXTRAS, TASKS, task_prompt, task_scene


@pytest.mark.parametrize("preset", ["small", "full"])
@pytest.mark.parametrize("split", ["train", "seen", "unseen"])
def test_every_task_has_scenes_of_every_split_and_they_obey_their_own_prompts(preset: Any, split: Any) -> None:
    for task in (*TASKS, *EXTRAS[preset]):
        for index in range(20):
            scene = task_scene(preset, split, task, 0, index)
            assert scene == task_scene(preset, split, task, 0, index)
            assert scene.pattern == task.replace(" ", "_")
            assert belongs(meaning(scene), split)
            assert satisfied(scene, demand(scene))
            assert task_prompt(scene, preset) and task_prompt(scene, preset, "zh")


def test_tasks_ask_for_what_their_name_says() -> None:
    for index in range(50):
        asked = {task: demand(task_scene("small", "unseen", task, 1, index)) for task in TASKS}
        assert [len(asked[task].objects) for task in TASKS] == [1, 2, 1, 1, 2, 2]
        assert asked["counting"].objects[0].count > 1 and asked["counting"].objects[0].exactly
        assert asked["colours"].objects[0].colour
        assert len(asked["position"].relations) == 1
        one, other = asked["colour attribution"].objects
        assert one.colour and other.colour and one.colour != other.colour


def item(name: str, box: tuple[float, float, float, float], colour: str | None = None) -> Item:
    return Item(name, "solid" if colour else "sprite", box, colour=colour)


CAT, DOG = item("cat", (0.1, 0.4, 0.3, 0.6)), item("dog", (0.6, 0.45, 0.9, 0.7))


def test_a_demand_is_met_by_its_scene_and_not_by_others() -> None:
    scene = Scene("position", (CAT, DOG), (Relation(0, "left of", 1),))
    asked = demand(scene)
    assert asked == ExpectedScene((ExpectedObject("cat"), ExpectedObject("dog")), (ExpectedRelation(0, "left of", 1),))
    assert satisfied(scene, asked)
    turned = replace(scene, items=(replace(CAT, box=DOG.box), replace(DOG, box=CAT.box)))
    assert not satisfied(turned, asked)
    assert not satisfied(replace(scene, items=(CAT,), relations=()), asked)


def test_incidental_relations_are_not_demanded() -> None:
    assert demand(Scene("two_objects", (CAT, DOG), (Relation(0, "left of", 1),))).relations == ()


def test_counting_wants_the_exact_number() -> None:
    two, three = Scene("counting", (CAT, CAT)), Scene("counting", (CAT, CAT, CAT))
    assert demand(two).objects == (ExpectedObject("cat", count=2, exactly=True),)
    assert not satisfied(three, demand(two)) and not satisfied(two, demand(three))


def test_colours_sizes_and_grounds_are_demanded() -> None:
    red = item("cube", (0.2, 0.2, 0.5, 0.5), "red")
    scene = Scene("colours", (replace(red, size="big"),))
    assert not satisfied(Scene("colours", (replace(red, colour="blue", size="big"),)), demand(scene))
    assert not satisfied(Scene("colours", (replace(red, size="small"),)), demand(scene))
    snow = Scene("single_object", (CAT,), place="snow")
    assert demand(snow).place == "snow"
    assert not satisfied(Scene("single_object", (CAT,)), demand(snow))
    assert not satisfied(Scene("pair", (CAT,)), demand(Scene("pair", (CAT,), lower_style="pencil sketch")))


@pytest.mark.parametrize(
    ("one", "relation", "other", "holds"),
    [
        ((0.0, 0.4, 0.2, 0.6), "left of", (0.6, 0.4, 0.8, 0.6), True),
        ((0.0, 0.4, 0.2, 0.6), "right of", (0.6, 0.4, 0.8, 0.6), False),
        ((0.4, 0.0, 0.6, 0.2), "above", (0.4, 0.6, 0.6, 0.8), True),
        ((0.0, 0.0, 0.4, 0.4), "left of", (0.05, 0.0, 0.45, 0.4), False),  # nearly the same place
        ((0.0, 0.1, 0.2, 0.3), "left of", (0.15, 0.7, 0.35, 0.9), False),  # rather above than left
        ((0.4, 0.2, 0.6, 0.4), "on top of", (0.35, 0.4, 0.65, 0.7), True),
        ((0.4, 0.1, 0.6, 0.25), "on top of", (0.35, 0.4, 0.65, 0.7), False),  # above, but floating
    ],
)
def test_relations_are_judged_by_genevals_rule(one: Any, relation: Any, other: Any, holds: bool) -> None:
    assert stands_so(one, relation, other) is holds


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="juggling"):
        task_scene("small", "unseen", "juggling", 0, 0)
    with pytest.raises(UsageError, match="test"):
        task_scene("small", "test", "counting", 0, 0)  # type: ignore[arg-type]
