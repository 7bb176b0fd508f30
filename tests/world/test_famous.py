"""The famous sentences: all of them are here, and none of them was in training."""

from __future__ import annotations

import pytest

from pinxit.world import World
from pinxit.world.expectations import satisfied
from pinxit.world.famous import PLANS, Famous, famous_sentences
from pinxit.world.plan import meaning
from pinxit.world.splits import FAMOUS, combinations

SENTENCES = famous_sentences()


def test_every_sentence_of_the_table_has_a_plan_and_every_plan_a_sentence() -> None:
    assert [one.name for one in SENTENCES] == list(PLANS) and len(SENTENCES) == 26
    assert all(one.en.isascii() and not one.zh.isascii() for one in SENTENCES)


@pytest.mark.parametrize("one", SENTENCES, ids=lambda one: one.name)
def test_its_scene_is_a_true_picture_of_it_and_of_no_other_seed(one: Famous) -> None:
    scene = one.scene(3)
    assert meaning(scene) == one.plan and satisfied(scene, one.expected)
    assert scene == one.scene(3) and scene != one.scene(4)


def test_a_sentence_tells_its_place_where_it_is_one() -> None:
    places = {one.name: one.expected.place for one in SENTENCES if one.expected.place}
    assert places == {
        "capybara-sunrise": "meadow",
        "capybara-close": "meadow",
        "capybara-mountains": "mountains",
        "fox-unicorn": "snowy forest",
    }


def test_neither_they_nor_their_combinations_stand_in_100_000_training_captions() -> None:
    world = World("gallery", "train", seed=19)
    famous = {sentence.lower() for one in SENTENCES for sentence in (one.en, one.zh)}
    for index in range(25_000):
        scene = world.scene(index)
        said = [caption.lower() for caption in world.captions(index, scene)]
        assert not FAMOUS.intersection(combinations(meaning(scene))), said
        assert not famous.intersection(said) and not any("openai" in caption for caption in said), said
