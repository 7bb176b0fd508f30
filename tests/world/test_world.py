"""The world as a dataset: the same for ever, everywhere, in any order."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from pinxit.errors import UsageError
from pinxit.world import World
from pinxit.world.compose import compose
from pinxit.world.dice import Dice
from pinxit.world.expectations import demand, satisfied
from pinxit.world.ingredients import sound
from pinxit.world.neighbours import neighbours
from pinxit.world.plan import Part, ScenePlan, meaning
from pinxit.world.splits import SPLITS, belongs
from pinxit.world.thesaurus import FURTHER
from pinxit.world.vocabulary import PresetName, lexicon, stands_out

_ELSEWHERE = """
import hashlib
from pinxit.world import World
digest = hashlib.sha256()
for index in (41, 3, 17):
    example = World("small", "unseen", seed=5, group=4)[index]
    digest.update(example.picture.tobytes() + repr((example.captions, example.key, example.facts)).encode())
print(digest.hexdigest())
"""


def test_an_item_is_a_pure_function_of_its_arguments() -> None:
    """Another order, another object, other items in between: nothing changes."""
    indices = [7, 0, 123456789, 3]
    first = [World(seed=3)[i] for i in indices]
    world = World(seed=3)
    again = {i: world[i] for i in reversed(indices)}
    for index, example in zip(indices, first, strict=True):
        assert again[index].key == example.key
        assert np.array_equal(again[index].picture, example.picture)
        assert again[index].facts == example.facts == world.scene(index)
        assert example.captions == world.captions(index)


def test_another_process_draws_the_same() -> None:
    digest = hashlib.sha256()
    for index in (41, 3, 17):
        example = World("small", "unseen", seed=5, group=4)[index]
        digest.update(example.picture.tobytes() + repr((example.captions, example.key, example.facts)).encode())
    said = subprocess.run([sys.executable, "-c", _ELSEWHERE], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == digest.hexdigest()


def test_the_small_world_is_the_one_that_checkpoints_were_trained_on() -> None:
    """A change of grammar, layout, words or small sprites makes it another world: change these digests knowingly."""
    scenes, captions = hashlib.sha256(), hashlib.sha256()
    for split in SPLITS:
        world = World("small", split, group=4)
        for index in range(120):
            scenes.update(repr(world.scene(index)).replace(", material=None", "").encode())  # a field that came later
            captions.update(repr(world.captions(index)).encode())
    assert (scenes.hexdigest()[:16], captions.hexdigest()[:16]) == ("3755c24b291f0a20", "e8e327c8f401e9b5")


def test_every_argument_makes_another_world_but_size_and_language_show_the_same_scene() -> None:
    scenes = [World(seed=0).scene(0), World(seed=1).scene(0), World(split="seen").scene(0), World(group=4).scene(0)]
    assert len(set(scenes)) == 4
    assert World(language="zh", size=32).scene(9) == World(language="en", size=128).scene(9) == World().scene(9)
    assert World(size=96)[0].picture.shape == (96, 96, 3)
    assert World()[0].picture.dtype == np.uint8


@pytest.mark.parametrize("preset", ["small", "full"])
@pytest.mark.parametrize("split", ["train", "unseen"])
def test_neighbours_differ_in_exactly_one_told_fact_and_their_captions_are_false_of_the_base(
    preset: Any, split: Any
) -> None:
    world = World(preset, split, group=4)
    for base in range(0, 1200 if preset == "small" else 400, 4):
        scenes = [world.scene(base + k) for k in range(4)]
        plans = [meaning(scene) for scene in scenes]
        assert len(set(plans)) == 4
        for scene, plan in zip(scenes[1:], plans[1:], strict=True):
            assert differences(plans[0], plan) in (*ONE_CHANGE, *MORE_CHANGES), (plans[0], plan)
            assert not satisfied(scenes[0], demand(scene))
            assert not satisfied(scene, demand(scenes[0]))
            assert satisfied(scene, demand(scene))


ONE_CHANGE = (
    "name",
    "colour",
    "count",
    "form",
    "size",
    "relations",
    "colours swapped",
    "sizes swapped",
    "places swapped",
)
MORE_CHANGES = ("style", "lower_style", "view", "light", "words", "a garment")


def differences(one: ScenePlan, other: ScenePlan) -> str:
    """The one fact in which two plans of equal shape differ, or a list of all of them."""
    facts = ("name", "colour", "count", "form", "size", "words")
    found = [
        fact
        for a, b in zip(one.parts, other.parts, strict=True)
        for fact in facts
        if getattr(a, fact) != getattr(b, fact)
    ]
    settings = ("relations", "style", "lower_style", "view", "light")
    found += [fact for fact in settings if getattr(one, fact) != getattr(other, fact)]
    worn = [zip(a.outfit, b.outfit, strict=True) for a, b in zip(one.parts, other.parts, strict=True)]
    found += ["a garment" for pairs in worn for before, after in pairs if before != after]
    assert (one.pattern, one.place) == (other.pattern, other.place)
    if found in (["colour", "colour"], ["size", "size"]):
        values = [[getattr(p, found[0]) for p in plan.parts] for plan in (one, other)]
        assert values[0] == values[1][::-1]
        return f"{found[0]}s swapped"
    mirrored = [(p.name, p.colour, p.form) for p in one.parts] == [
        (p.name, p.colour, p.form) for p in other.parts[::-1]
    ]
    if mirrored and len(one.parts) == 2:
        return "places swapped"
    return ", ".join(found)


def test_no_two_neighbours_say_the_same() -> None:
    """A mirrored relation and exchanged colours are one change where both things have one name."""
    words = lexicon("small")
    parts = (Part("circle", "shape", "brown"), Part("circle", "shape", "pink"))
    plan = ScenePlan("position", parts, ("left of",))
    for seed in range(40):
        dice = Dice("alike", seed)
        base = compose(plan, dice, words)
        others = base and neighbours(base, plan, words, "train", dice)
        assert others
        for one in others:
            assert not any(satisfied(one, demand(other)) for other in others if other is not one)


def test_every_kind_of_change_occurs_among_neighbours() -> None:
    world = World(group=4)
    pairs = ((meaning(world.scene(i)), meaning(world.scene(i + k))) for i in range(0, 2000, 4) for k in (1, 2, 3))
    assert {differences(a, b) for a, b in pairs} == set(ONE_CHANGE)


@pytest.mark.parametrize(
    "inner", [Part("circle", "shape", "red"), Part("dog", "sprite")], ids=lambda part: part.colour or "natural"
)
def test_neighbours_are_seen_inside_what_holds_them(inner: Part) -> None:
    """A red circle is not drawn in a red square, and things in their own colours lie in white ones alone."""
    words = lexicon("gallery")
    plan = ScenePlan("inside", (inner, Part("square", "shape", "white")), ("inside",), "gray")
    assert sound(plan) and belongs(plan, "train")
    for seed in range(20):
        dice = Dice("inside", seed)
        base = compose(plan, dice, words)
        others = base and neighbours(base, plan, words, "train", dice)
        assert others
        for one, other in (meaning(scene).parts for scene in others):
            seen = stands_out(one.colour, other.colour or "") if one.colour else other.colour in ("white", None)
            assert seen, (one, other)


def test_what_does_not_exist_is_refused_in_one_sentence() -> None:
    wrong: list[dict[str, Any]] = [{"preset": "huge"}, {"split": "test"}, {"language": "fr"}, {"group": 3}]
    for arguments in wrong:
        with pytest.raises(UsageError, match=str(next(iter(arguments.values())))):
            World(**arguments)
    with pytest.raises(IndexError):
        World()[-1]
    with pytest.raises(IndexError):
        World(length=10)[10]
    assert len(World(length=10)) == 10


def test_many_names_say_the_same_scenes_in_other_words() -> None:
    usual, many = World(language="en"), World(language="en", names="many")
    scenes = [usual.scene(index) for index in range(200)]
    assert scenes == [many.scene(index) for index in range(200)]
    assert all(usual.captions(index)[0] == many.captions(index)[0] for index in range(200))  # the plainest stays
    further = re.compile(rf"\b({'|'.join(name for names in FURTHER.values() for name in names)})s?\b")

    def told(world: World) -> float:
        others = [caption for index in range(200) for caption in world.captions(index)[1:]]
        return sum(further.search(caption) is not None for caption in others) / len(others)

    assert told(usual) < 0.15 and 0.5 < told(many) < 0.95  # a flower pot is a pot, a pine tree a tree


@pytest.mark.parametrize("preset", ["small", "gallery", "full"])
def test_no_two_things_share_a_name(preset: PresetName) -> None:
    nouns = lexicon(preset, "many").nouns
    said = [name for noun in nouns.values() for name in (noun.name, *noun.synonyms)]
    assert len(said) == len(set(said))
    chinese = [name for noun in nouns.values() for name in (noun.zh, *noun.zh_synonyms)]
    assert len(chinese) == len(set(chinese)) or preset == "full"  # the pack calls some things alike in Chinese
    assert not {name for noun in nouns.values() for name in noun.zh_synonyms} & {noun.zh for noun in nouns.values()}
    if preset != "full":
        assert FURTHER.keys() >= nouns.keys() and (preset == "small" or FURTHER.keys() == nouns.keys())
        assert all(set(FURTHER[thing]) <= set(noun.synonyms) for thing, noun in nouns.items())


def test_a_bank_drawn_before_there_were_names_is_still_the_usual_worlds() -> None:
    assert "names" not in World().identity() and World(names="many").identity()["names"] == "many"
    assert World(seed=1).identity() != World(seed=2).identity()
    with pytest.raises(UsageError, match="names must be one of usual, many, not 'all'"):
        World(names="all")  # type: ignore[arg-type]
