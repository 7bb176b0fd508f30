"""What training never shows: by the keyed hash, and because it is famous."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from pinxit.world import World
from pinxit.world.famous import Famous, famous_sentences
from pinxit.world.plan import meaning
from pinxit.world.splits import FAMOUS, RELEVANT, belongs, combinations, held_out
from pinxit.world.vocabulary import COLOURS, FORMS, lexicon

WORDS = lexicon("small")
DRAWN = (*WORDS.shapes, *WORDS.solids, *WORDS.made)
EVERYTHING = (*WORDS.sprites, *DRAWN)
GROUNDS = (*COLOURS[:-1], *WORDS.places)


@pytest.mark.parametrize("preset", ["small", "full"])
@pytest.mark.parametrize("split", ["train", "seen"])
def test_training_and_seen_scenes_hold_no_held_out_combination(preset: Any, split: Any) -> None:
    for index in range(3000 if preset == "small" else 1000):
        found = combinations(meaning(World(preset, split).scene(index)))
        assert not [c for c in found if held_out(c)]


@pytest.mark.parametrize("preset", ["small", "full"])
def test_every_unseen_scene_is_new_in_what_its_pattern_is_about(preset: Any) -> None:
    for index in range(1500 if preset == "small" else 600):
        plan = meaning(World(preset, "unseen").scene(index))
        assert [c for c in combinations(plan) if c[0] in RELEVANT[plan.pattern] and held_out(c)]


def test_groups_of_neighbours_stay_in_their_split() -> None:
    for split in ("train", "seen", "unseen"):
        world = World("small", split, group=4)
        assert all(belongs(meaning(world.scene(i)), split) for i in range(400))


def test_about_one_combination_in_eight_is_held_out_and_nobody_loses_much_more() -> None:
    """Each name meets at least 60 % of its possible partners in training, in every kind of combination."""
    kinds: dict[str, dict[str, list[tuple[str, ...]]]] = {
        "colour of a thing": {n: [("colour", c, n) for c in COLOURS] for n in DRAWN},
        "thing of a colour": {c: [("colour", c, n) for n in DRAWN] for c in COLOURS},
        "ground of a thing": {n: [("place", g, n) for g in GROUNDS] for n in EVERYTHING},
        "thing on a ground": {g: [("place", g, n) for n in EVERYTHING] for g in GROUNDS},
        "count of a thing": {n: [("count", str(k), n) for k in (2, 3, 4)] for n in EVERYTHING},
        "things of a count": {str(k): [("count", str(k), n) for n in EVERYTHING] for k in (2, 3, 4)},
        "company": {n: [("pair", *sorted((n, m))) for m in EVERYTHING if m != n] for n in EVERYTHING},
        "forms": {n: [("form", f, n) for f in FORMS] for n in WORDS.made},
        "made": {n: [("made", c, f, n) for f in FORMS for c in COLOURS] for n in WORDS.made},
        "sketches": {"": [("style", "pencil sketch", n) for n in WORDS.sprites]},
        "pairs": {"": [("lower style", "pencil sketch", n) for n in WORDS.sprites]},
    }
    for kind, rows in kinds.items():
        shares = [sum(map(held_out, row)) / len(row) for row in rows.values()]
        assert 0.08 < sum(shares) / len(shares) < 0.2, kind
        assert max(shares) <= 0.4, kind


def test_every_name_colour_and_ground_is_abundant_in_training() -> None:
    world = World()
    names: Counter[str] = Counter()
    colours: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for scene in map(world.scene, range(4000)):
        names.update({item.name for item in scene.items})
        colours.update({item.colour for item in scene.items if item.colour})
        places[scene.place] += 1
    assert min(names[name] for name in EVERYTHING) >= 60
    assert min(colours[colour] for colour in COLOURS) >= 150
    assert min(places[place] for place in (*GROUNDS, "white")) >= 60
    assert 0.35 < places["white"] / 4000 < 0.5


@pytest.mark.parametrize("sentence", famous_sentences(), ids=lambda one: one.name)
def test_famous_sentences_are_held_out(sentence: Famous) -> None:
    """Whatever else the hash keeps out of training, each of them is kept out by name."""
    plan = meaning(sentence.scene())
    assert plan == sentence.plan
    assert not belongs(plan, "train") and not belongs(plan, "seen")
    assert any(c in FAMOUS for c in combinations(plan))


def test_every_famous_combination_is_that_of_a_famous_sentence_or_of_one_told_before() -> None:
    """A slip of the pen in the table would hold out nothing."""
    said = {c for one in famous_sentences() for c in combinations(one.plan)}
    before = {("pair", "armchair", "avocado"), ("pair", "avocado", "chair")}
    turned = {
        ("coloured relation", a, "cube", "on top of", b, "cube") for a, b in (("blue", "green"), ("green", "red"))
    }
    assert FAMOUS - said == before | turned


def test_the_parts_of_the_readme_sentences_are_met_in_training() -> None:
    """They are new as combinations only: a red cube, a green cube and a cube on a cube are not."""
    parts = [("colour", "red", "cube"), ("colour", "green", "cube"), ("relation", "cube", "on top of", "cube")]
    parts += [("count", "3", "triangle"), ("colour", "green", "triangle"), ("relation", "circle", "left of", "square")]
    parts += [("colour", "orange", "circle"), ("colour", "purple", "square"), ("style", "pencil sketch", "cat")]
    assert not any(map(held_out, parts))
