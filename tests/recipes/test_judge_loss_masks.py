"""What the train split holds out is neither right nor wrong; what it shows is judged as ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pinxit.models.detector import Detector
from pinxit.recipes.judge.loss_masks import answers_unshown, names_unshown, places_unshown
from pinxit.recipes.judge.training import JudgeTask, detector_loss
from pinxit.training.rows import all_rows
from pinxit.world.plan import Part, ScenePlan
from pinxit.world.scene import Item, Relation, Scene
from pinxit.world.splits import belongs, held_out
from pinxit.world.vocabulary import COLOURS, FORMS, STYLES
from pinxit.world.world import World
from tests.recipes.test_judge import TINY

SIDES = ((0.1, 0.4, 0.3, 0.6), (0.6, 0.4, 0.8, 0.6))


def shape(name: str, colour: str, side: int = 0) -> Item:
    return Item(name, "shape", SIDES[side], colour=colour)


def test_a_name_is_unshown_exactly_where_the_split_keeps_the_plan_out() -> None:
    """For one coloured shape on a ground: put every other shape in its place and ask the split."""
    for colour, place in (("gray", "white"), ("red", "snow"), ("white", "blue")):
        scene = Scene("colours", (shape("star", colour),), place=place)
        flags = names_unshown(scene, TINY)
        for name in ("circle", "square", "triangle", "heart", "pentagon", "hexagon", "ring"):
            plan = ScenePlan("colours", (Part(name, "shape", colour),), place=place)
            assert flags[TINY.names.index(name)] == (not belongs(plan, "train")), (name, colour, place)
        assert not flags[TINY.names.index("star")]


def test_pairs_and_relations_rule_names_out_in_both_directions() -> None:
    items = (Item("cat", "sprite", SIDES[0]), Item("car", "sprite", SIDES[1]))
    flags = names_unshown(Scene("position", items, (Relation(0, "right of", 1),)), TINY)
    for name in ("penguin", "snail", "robot", "chair", "house", "fish"):
        ruled_out = (
            any(held_out(("pair", *sorted((name, other)))) for other in ("cat", "car"))
            or held_out(("relation", "car", "left of", name))
            or held_out(("relation", name, "left of", "cat"))
        )
        assert flags[TINY.names.index(name)] == ruled_out, name


@pytest.mark.parametrize(("lower", "kind"), [(False, "style"), (True, "lower style")])
def test_the_style_that_a_scene_has_is_never_ruled_out(lower: bool, kind: str) -> None:
    config = replace(TINY, styles=STYLES)
    kept_out = [(s, n) for s in config.styles for n in TINY.names if held_out((kind, s, n))]
    assert len({style for style, _ in kept_out}) > 3
    for true, name in kept_out[:40]:
        flags = answers_unshown(Item(name, "sprite", SIDES[0]), true, lower, config)
        usual, *styles = flags[-len(config.styles) - 1 :].tolist()
        assert not usual
        assert styles == [held_out((kind, s, name)) and s != true for s in config.styles], (true, name)


def test_answers_are_ruled_out_by_name_and_the_truth_never() -> None:
    clock = Item("clock", "made", SIDES[0], colour="green", form="triangle")  # the famous one: held out as a whole
    flags = answers_unshown(clock, None, False, TINY)
    colours, forms, styles = flags[: len(COLOURS)], flags[len(COLOURS) : -len(TINY.styles) - 1], flags[-2:]
    assert not colours[COLOURS.index("green")] and not forms[FORMS.index("triangle")]
    for i, colour in enumerate(COLOURS):
        kept_out = held_out(("colour", colour, "clock")) or held_out(("made", colour, "triangle", "clock"))
        assert colours[i] == (kept_out and colour != "green")
    for i, form in enumerate(FORMS):
        kept_out = held_out(("form", form, "clock")) or held_out(("made", "green", form, "clock"))
        assert forms[i] == (kept_out and form != "triangle")
    assert styles.tolist() == [False, held_out(("style", "pencil sketch", "clock"))]
    assert not answers_unshown(shape("star", "red"), None, False, TINY)[len(COLOURS) : -2].any()


def test_grounds() -> None:
    scene = Scene("two_objects", (shape("star", "red"), Item("cat", "sprite", SIDES[1])), place="snow")
    for ground, flag in zip(TINY.places, places_unshown(scene, TINY), strict=True):
        kept_out = any(held_out(("place", ground, name)) for name in ("star", "cat"))
        assert flag == (kept_out and ground not in ("white", "snow"))


def test_unshown_answers_get_no_gradient_and_shown_ones_do() -> None:
    task = JudgeTask(World("small", "train"), TINY)
    batch = task.batch(all_rows(0, 4)) | {
        "faced": torch.zeros(4, dtype=torch.bool),
        "asked": torch.zeros(4, dtype=torch.int64),
    }
    pictures = batch["pictures"].float() / 255

    def gradient(truth: dict[str, Tensor]) -> Tensor:
        task.detector.zero_grad()
        torch.autograd.backward(detector_loss(task.detector.eval(), pictures, truth)[0])
        assert isinstance(task.detector, Detector) and task.detector.heat.bias is not None
        assert task.detector.heat.bias.grad is not None
        return task.detector.heat.bias.grad.clone()

    shown = gradient(batch | {"unshown_names": torch.zeros_like(batch["unshown_names"])})
    absent = next(
        i for i in range(len(TINY.names)) if i not in batch["objects"][:, :, 0].long() and shown[i].abs() > 1e-6
    )
    flags = torch.zeros_like(batch["unshown_names"])
    flags[:, absent] = True
    hidden = gradient(batch | {"unshown_names": flags})
    assert hidden[absent] == 0 and shown[absent] > 0
    assert (hidden[torch.arange(len(hidden)) != absent] != 0).all()
