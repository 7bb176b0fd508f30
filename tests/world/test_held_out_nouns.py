from __future__ import annotations

import re

import pytest

from pinxit.errors import UsageError
from pinxit.evaluation.questions import Exam, questions
from pinxit.world import World
from pinxit.world.english import plural
from pinxit.world.held_out_nouns import (
    HELD_OUT_NOUNS,
    PARAPHRASES,
    can_be_paraphrased,
    can_be_reworded,
    paraphrased_caption,
    reworded_caption,
)
from pinxit.world.tasks import TASKS, task_prompt, task_scene
from pinxit.world.vocabulary import Names, lexicon


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize("names", ["usual", "many"])
def test_no_training_caption_holds_a_held_out_noun(names: Names) -> None:
    world = World("small", names=names)
    known = {word for k in range(4000) for caption in world.captions(k) for word in words_of(caption)}
    for noun in lexicon("small", names).nouns.values():
        known |= words_of(noun.name) | words_of(noun.plural) | {w for name in noun.synonyms for w in words_of(name)}
    held_out = {form for new in HELD_OUT_NOUNS.values() for form in (new, plural(new))}
    assert not held_out & known
    assert HELD_OUT_NOUNS.keys() <= lexicon("small").nouns.keys()


@pytest.mark.parametrize("task", TASKS)
def test_only_the_nouns_change(task: str) -> None:
    scenes = [task_scene("small", "unseen", task, 0, index) for index in range(80)]
    scenes = [scene for scene in scenes if can_be_reworded(scene)]
    assert len(scenes) > 5
    old = {form for name in HELD_OUT_NOUNS for form in (*name.split(), *plural(name).split(), "cactuses")}
    new = {word for name in HELD_OUT_NOUNS.values() for form in (name, plural(name), "fungi") for word in form.split()}
    for scene in scenes:
        said, plain = words_of(reworded_caption(scene)), words_of(task_prompt(scene))
        assert said & new and not said & old
        assert said - new - {"a", "an"} == plain - old - {"a", "an"}


def test_a_pair_names_its_thing_twice_and_is_left_out() -> None:
    assert not any(can_be_reworded(task_scene("small", "unseen", "pair", 0, index)) for index in range(20))
    asked = questions(Exam(words="held-out", prompts=40))
    assert "pair" not in {one.task for one in asked} and len(asked) == 40
    with pytest.raises(UsageError, match="no held-out prompts"):
        Exam(words="held-out", tasks=("pair",))
    with pytest.raises(UsageError, match="small world"):
        Exam(words="held-out", language="zh")


def test_in_vocabulary_prompts_ask_for_the_same_scenes_in_the_usual_words() -> None:
    """So that what the words cost can be told from what the things cost."""
    known, held_out = (questions(Exam(words=words, prompts=40)) for words in ("in-vocabulary", "held-out"))
    assert [(one.task, one.scene, one.expected) for one in known] == [
        (one.task, one.scene, one.expected) for one in held_out
    ]
    assert all(one.prompt == task_prompt(one.scene) for one in known)
    assert all(one.prompt != other.prompt for one, other in zip(known, held_out, strict=True))


def test_an_example() -> None:
    scenes = (task_scene("small", "unseen", "position", 0, k) for k in range(200))
    said = next(reworded_caption(scene) for scene in scenes if can_be_reworded(scene))
    assert re.fullmatch(r"an? [\w ]+ an? \w+", said), said


def test_paraphrases_say_the_same_things_as_no_caption_does() -> None:
    """Every sentence of an exam differs from its plain one in the words around the things; no caption has these."""
    world = World("small")
    known = {word for k in range(4000) for caption in world.captions(k) for word in words_of(caption)}
    for plain, other in PARAPHRASES.items():
        assert words_of(other.replace("{a}", "").replace("{b}", "")) - known, other
        assert sorted(re.findall(r"{\w}", plain)) == sorted(re.findall(r"{\w}", other))
    asked = questions(Exam(words="paraphrased", prompts=120))
    assert len({one.task for one in asked}) == 8 and all(can_be_paraphrased(one.scene) for one in asked)
    for one in asked:
        frame = {word for other in PARAPHRASES.values() for word in words_of(other)}
        usual = {word for plain in PARAPHRASES for word in words_of(plain)}
        assert words_of(one.prompt) - frame - usual == words_of(task_prompt(one.scene)) - frame - usual
        assert one.prompt == paraphrased_caption(one.scene) != task_prompt(one.scene)
    assert [one.task for one in asked[:6]] == [one.task for one in questions(Exam(prompts=6))]
