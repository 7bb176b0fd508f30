"""What the gallery's judge tells besides: the truth it is given, what is left open in it, learning by heart."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pinxit.errors import DataError
from pinxit.evaluation.geneval import complaints
from pinxit.evaluation.questions import Exam, questions
from pinxit.functional.draws import OneStream
from pinxit.models.detector import Detector, DetectorConfig
from pinxit.recipes.judge.detect import RawDetections, _words, attributes_of, detect
from pinxit.recipes.judge.gallery_losses import board_of, letters_loss
from pinxit.recipes.judge.hard_scenes import HARD, SEED, HardScenes, Signs
from pinxit.recipes.judge.judge import LINKS, Judge, build, config_for
from pinxit.recipes.judge.loss_masks import (
    garments_unshown,
    links_unshown,
    materials_unshown,
    names_unshown,
    settings_unshown,
)
from pinxit.recipes.judge.targets import MOST, flat_forms, letters_of, object_table, place_answer, targets_of
from pinxit.recipes.judge.training import SIGNS, JudgeTask, detector_loss
from pinxit.training.rows import all_rows
from pinxit.types import Example
from pinxit.world.draw import render
from pinxit.world.expectations import demand
from pinxit.world.plan import meaning
from pinxit.world.scene import Item, Relation, Scene
from pinxit.world.splits import Split, belongs, held_out
from pinxit.world.tasks import task_scene
from pinxit.world.vocabulary import COLOURS, FORMS
from pinxit.world.world import World

GALLERY = config_for("gallery").detector
TINY = replace(GALLERY, widths=(24, 32, 48), blocks=(1, 1, 1), neck=40)
LEFT, RIGHT = (0.1, 0.3, 0.4, 0.8), (0.5, 0.5, 0.8, 0.8)
DRESSED = Item("owl", "sprite", LEFT, outfit=(("red", "hat"), ("", "tutu")))


class Scenes:
    """Given scenes as a dataset."""

    def __init__(self, scenes: list[Scene]) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Example:
        return Example(render(self.scenes[index]), (), f"scene {index}", self.scenes[index])


def test_the_truth_of_every_fact() -> None:
    scene = Scene(
        "walking",
        (DRESSED, Item("dog", "sprite", RIGHT, material="harp"), Item("sign", "made", RIGHT, words="TEA")),
        (Relation(0, "walking", 1), Relation(1, "left of", 2)),
        view="fisheye",
        light="rain",
    )
    truth = targets_of(scene, GALLERY)
    worn = dict(zip(GALLERY.garments, truth["garments"][0].tolist(), strict=True))
    assert worn == dict.fromkeys(GALLERY.garments, -1) | {"hat": 1 + COLOURS.index("red"), "tutu": 0}
    assert (truth["garments"][1] == -1).all()
    assert truth["materials"][:3].tolist() == [0, 1 + GALLERY.materials.index("harp"), 0]
    assert truth["links"].nonzero().tolist() == [[0, 0, LINKS.index("walking")], [1, 1, LINKS.index("walking")]]
    assert truth["views"] == 1 + GALLERY.views.index("fisheye") and truth["lights"] == 1 + GALLERY.lights.index("rain")
    assert truth["words"][2].tolist() == [20, 5, 1, 0, 0, 0, 0, 0] and not truth["words"][:2].any()
    assert all(len(truth[name]) == MOST for name in ("garments", "materials", "links", "words"))
    assert targets_of(replace(scene, view=None, light=None), GALLERY)["views"] == 0


def test_colours_that_a_style_hides_are_unknown_and_grounds_that_it_keeps_are_known() -> None:
    for style, known in (("watercolour", True), ("neon", False)):
        scene = Scene("outfit", (DRESSED,), place="snow", style=style)
        hat = targets_of(scene, GALLERY)["garments"][0, GALLERY.garments.index("hat")]
        assert (hat > 0) == known and hat >= 0
        assert (place_answer(scene, GALLERY) >= 0) == known


def test_things_lend_their_own_form() -> None:
    chair = Item("armchair", "made", LEFT, form="avocado")
    table = object_table(Scene("x", (chair, Item("avocado", "sprite", RIGHT), Item("dog", "sprite", RIGHT))), GALLERY)
    assert GALLERY.forms[: flat_forms(GALLERY)] == FORMS and table[0, 6] == table[1, 6] == GALLERY.forms.index(
        "avocado"
    )


def test_letters_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(DataError, match="'tea'"):
        letters_of("tea", GALLERY.letters)
    with pytest.raises(DataError, match="at most 8"):
        letters_of("ABCDEFGHI", GALLERY.letters)


def test_garments_that_a_thing_never_wears_are_neither_right_nor_wrong() -> None:
    garments = list(GALLERY.garments)
    none, colours = garments_unshown(Item("penguin", "sprite", LEFT), GALLERY)
    assert none.all(), "penguins are never dressed"
    none, _ = garments_unshown(Item("radish", "sprite", LEFT), GALLERY)
    assert none[garments.index("tutu")], "one of the famous sentences"
    none, colours = garments_unshown(DRESSED, GALLERY)
    assert not none[garments.index("hat")] and not colours[garments.index("hat"), COLOURS.index("red")]
    for g, garment in enumerate(garments):
        kept_out = held_out(("garment", garment, "owl")) or held_out(("wearing", "", garment, "owl"))
        assert none[g] == (kept_out and garment not in ("hat", "tutu"))
        for c, colour in enumerate(COLOURS):
            truth = (colour, garment) == ("red", "hat")
            assert colours[g, c] == (held_out(("wearing", colour, garment, "owl")) and not truth)


def test_materials_links_views_and_lights() -> None:
    snail, harp = Item("snail", "sprite", LEFT), 1 + GALLERY.materials.index("harp")
    assert materials_unshown(snail, GALLERY)[harp] and not materials_unshown(snail, GALLERY)[0]
    assert not materials_unshown(replace(snail, material="harp"), GALLERY)[harp]
    for m, material in enumerate(GALLERY.materials):
        out = held_out(("material", material, "snail")) or held_out(("pair", *sorted((material, "snail"))))
        assert materials_unshown(snail, GALLERY)[1 + m] == out
    items = (Item("horse", "sprite", LEFT), Item("astronaut", "sprite", RIGHT))
    riding = LINKS.index("riding")
    flags = links_unshown(Scene("two_objects", items), GALLERY)
    assert flags[:, :, riding].all(), "who rides whom: held out both ways"
    shown = links_unshown(Scene("riding", items, (Relation(0, "riding", 1),)), GALLERY)
    assert not shown[0, 0, riding] and not shown[1, 1, riding] and shown[1, 0, riding] and shown[0, 1, riding]
    for k, link in enumerate(LINKS):
        assert flags[0, 0, k] == flags[1, 1, k] == held_out(("relation", "horse", link, "astronaut"))
    views, lights = settings_unshown(Scene("x", (Item("capybara", "sprite", LEFT), snail)), GALLERY)
    assert views[1 + GALLERY.views.index("close-up")] and lights[1 + GALLERY.lights.index("sunrise")]
    assert not views[0] and not lights[0]
    near = Scene("view", (Item("capybara", "sprite", LEFT),), view="close-up")
    assert not settings_unshown(near, GALLERY)[0][1 + GALLERY.views.index("close-up")]


def test_names_that_never_wear_or_are_made_of_what_is_seen() -> None:
    def ruled_out(item: Item) -> set[str]:
        flags = names_unshown(Scene("outfit", (item,)), GALLERY)
        return {name for name, flag in zip(GALLERY.names, flags, strict=True) if flag}

    assert {"penguin", "radish", "carrot"} <= ruled_out(DRESSED)
    assert "snail" in ruled_out(Item("pig", "sprite", LEFT, material="harp"))
    assert not ruled_out(Item("pig", "sprite", LEFT))


def test_what_is_unshown_gets_no_gradient() -> None:
    """Each further part of the loss is 0 where everything in it is ruled out, and counts where nothing is."""
    items = (replace(DRESSED, outfit=(("red", "hat"), ("blue", "scarf"))), Item("dog", "sprite", RIGHT))
    task = JudgeTask(Scenes([Scene("walking", items, (Relation(0, "walking", 1),))]), TINY)
    batch = task.batch(all_rows(0, 1)) | {
        "faced": torch.zeros(1, dtype=torch.bool),
        "asked": torch.zeros(1, dtype=torch.int64),
    }
    pictures = batch["pictures"].float() / 255
    further = {"material", "worn", "garment", "links", "view", "light"}
    flags = {name: tensor for name, tensor in batch.items() if name.startswith("unshown")}
    for hidden in (False, True):
        full = {name: torch.full_like(tensor, hidden) for name, tensor in flags.items()}
        parts = detector_loss(task.detector.eval(), pictures, batch | full)[1]
        assert all((float(parts[name].detach()) == 0) == hidden for name in further)


def test_two_things_with_one_centre_do_not_contradict_each_other() -> None:
    """What is called a circle there is no less a star: the better both are seen, the less the names cost."""
    items = tuple(
        Item(name, "shape", (0.5 - r, 0.5 - r, 0.5 + r, 0.5 + r), k, "red")
        for k, (name, r) in enumerate((("circle", 0.4), ("star", 0.2)))
    )
    task = JudgeTask(Scenes([Scene("inside", items, (Relation(1, "inside", 0),))]), TINY)
    batch = task.batch(all_rows(0, 1)) | {
        "faced": torch.zeros(1, dtype=torch.bool),
        "asked": torch.zeros(1, dtype=torch.int64),
    }
    detector, cost = task.detector.eval(), []
    for sure in (-4.6, 12.0):
        with torch.no_grad():
            assert detector.heat.bias is not None
            for name in ("circle", "star"):
                detector.heat.bias[TINY.names.index(name)] = sure
        parts = detector_loss(detector, batch["pictures"].float() / 255, batch)[1]
        cost.append(float(parts["name"].detach()))
    assert cost[1] < 0.05 < cost[0]


def test_practice_is_half_the_world_and_half_what_is_hard_of_both_splits() -> None:
    practice = HardScenes("gallery", 64)
    scenes = [practice[index].facts for index in range(160)]
    splits: tuple[Split, ...] = ("train", "unseen")
    for at, split in zip((0, 2), splits, strict=True):
        world = World("gallery", split, seed=SEED)
        assert scenes[at::4] == [world.scene(index) for index in range(at, 160, 4)]
        assert all(belongs(meaning(scene), split) for scene in scenes[at + 1 :: 4])
    hard = {task.replace(" ", "_") for task, _ in HARD}
    assert all(scene.pattern in hard for scene in scenes[1::2]) and scenes[1] == practice[1].facts
    assert {scene.pattern for scene in scenes[1::2]} >= {"shaped", "inside", "outfit"}
    with pytest.raises(IndexError):
        practice[-1]


def test_practice_holds_no_scene_of_an_exam() -> None:
    asked = {question.scene for question in questions(Exam("gallery", prompts=88))}
    assert not asked & {HardScenes("gallery", 64)[index].facts for index in range(200)}


def test_where_everything_is_shown_every_answer_is_right_or_wrong() -> None:
    flags = [
        JudgeTask(World("gallery", "train"), TINY, all_shown=shown).batch(all_rows(0, 8)) for shown in (False, True)
    ]
    unshown = [name for name in flags[0] if name.startswith("unshown")]
    assert len(unshown) > 3 and any(flags[0][name].any() for name in unshown)
    assert not any(flags[1][name].any() for name in unshown)
    hard, small = build(config_for("gallery", 1)), build(config_for("small", 1))
    assert isinstance(hard.signs, Signs) and small.signs is None
    asked = [task_scene("gallery", "train", "words", seed, index) for seed in range(3) for index in range(4)]
    assert not {hard.signs[index].facts for index in range(4)} & set(asked), "no exam's"
    assert hard.all_shown and hard.data == HardScenes("gallery", 64)
    assert not small.all_shown and small.data == World("small", "train")


def test_one_thing_alone_may_be_turned_upside_down() -> None:
    """The picture, the box and the view go together; nothing else of the batch is touched."""
    item = Item("dog", "sprite", (0.1, 0.2, 0.5, 0.5))
    scenes = [Scene("single_object", (item,)), Scene("outfit", (replace(DRESSED, outfit=(("red", "hat"),)),))]
    task = JudgeTask(Scenes(scenes), TINY)
    batch = task.batch(all_rows(0, 64))
    turned = batch["views"] == 1 + TINY.views.index("upside down")
    alone = batch["objects"][:, 0, 0] == TINY.names.index("dog")
    assert 0 < turned.sum() < alone.sum() / 2 and not (turned & ~alone).any()
    expected = torch.from_numpy(np.ascontiguousarray(render(scenes[0])[::-1, ::-1])).permute(2, 0, 1)
    assert all(torch.equal(picture, expected) for picture in batch["pictures"][turned])
    torch.testing.assert_close(batch["objects"][turned][0, 0, 1:5], torch.tensor([0.5, 0.5, 0.9, 0.8]))


def test_signs_come_with_a_batch_whatever_it_is_cut_into() -> None:
    task = JudgeTask(World("gallery", "train"), TINY, seed=3, signs=Signs("gallery", 64, 3))
    full, parts = task.batch(all_rows(0, 24)), [task.batch(all_rows(start, 8)) for start in (0, 8, 16)]
    assert len(full["signs"]) == 24 // SIGNS
    for name in ("signs", "sign_boards", "sign_words"):
        torch.testing.assert_close(full[name], torch.cat([part[name] for part in parts]))
    words = ["".join(task.detector.config.letters[i - 1] for i in row if i) for row in full["sign_words"].tolist()]
    assert all(words) and not any(held_out(("words", word)) for word in words)


def test_every_letter_costs_the_same_in_a_short_word_and_in_a_long_one() -> None:
    """Nats of each word by its letters, and then the mean over words."""
    log_p = torch.randn(12, 2, 5, generator=torch.Generator().manual_seed(0)).log_softmax(2)
    words = torch.tensor([[1, 2, 0, 0, 0], [3, 1, 4, 1, 2]])
    model: Any = SimpleNamespace(reader=lambda pictures, picture_M, boxes: log_p)
    truth = {"words": torch.zeros(1, 1, 5), "objects": torch.zeros(1, 1, 8), "sign_boards": torch.zeros(2, 4)}
    draws, picture = OneStream(torch.Generator().manual_seed(0)), torch.zeros(1, 3, 8, 8)
    hidden, signs = torch.zeros(1, dtype=torch.bool), picture.expand(2, -1, -1, -1)
    found = letters_loss(model, picture, signs, truth | {"sign_words": words}, hidden, draws, draws)
    steps = torch.tensor([12])
    costs = [
        F.ctc_loss(log_p[:, k : k + 1], words[k : k + 1], steps, torch.tensor([n]), reduction="sum") / n
        for k, n in enumerate((2, 5))
    ]
    torch.testing.assert_close(found, torch.stack(costs).mean())


def test_every_head_learns_a_handful_by_heart() -> None:
    """A picture of what each head is for: afterwards nothing is left to complain of. (Nothing is left open here: a
    handful cannot teach what is not shown.)"""
    tasks = ("words", "shaped", "view", "light", "made of", "walking", "drinking", "making", "behind", "riding")
    scenes = [task_scene("gallery", "train", task, 0, index) for index, task in enumerate(tasks)]
    task = JudgeTask(Scenes(scenes), TINY)
    batch = task.batch(all_rows(0, len(scenes)))
    none = torch.zeros(len(scenes), dtype=torch.bool)
    batch |= {name: torch.zeros_like(tensor) for name, tensor in batch.items() if name.startswith("unshown")}
    batch |= {"faced": none, "asked": torch.zeros(len(scenes), dtype=torch.int64)}
    pictures, detector = batch["pictures"].float() / 255, task.detector
    optimiser = torch.optim.AdamW(detector.parameters(), lr=4e-3)
    draws = OneStream(torch.Generator().manual_seed(0))
    shown = {render(scene).tobytes(): scene for scene in scenes}
    told = [shown[picture.tobytes()] for picture in batch["pictures"].permute(0, 2, 3, 1).numpy()]

    def wrong() -> list[tuple[Scene, list[str]]]:
        found = [(s, complaints(d, demand(s))) for s, d in zip(told, detect(detector.eval(), pictures), strict=True)]
        detector.train()
        return [(scene, what) for scene, what in found if what]

    for update in range(70):
        optimiser.zero_grad()
        read = letters_loss(detector, pictures, pictures[:0], batch, none, draws, draws)
        torch.autograd.backward(detector_loss(detector, pictures, batch)[0] + read)
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
        optimiser.step()
        if update % 10 == 9 and not wrong():
            break
    assert wrong() == []


def test_a_judge_says_what_it_can_tell() -> None:
    assert attributes_of(GALLERY) == {"words", "outfit", "material", "shape", "link", "view", "light"}
    assert attributes_of(config_for("small").detector) == attributes_of(config_for("full").detector) == frozenset()
    assert attributes_of(replace(GALLERY, letters="", forms=FORMS)) == attributes_of(GALLERY) - {"words", "shape"}
    blind = DetectorConfig(names=("fox",), size=32, widths=(16,), blocks=(0,), neck=16)
    (detections,) = detect(Detector(blind).eval(), torch.rand(1, 3, 32, 32))
    assert detections.attributes == frozenset() and detections.view is None and detections.light is None


def test_boards_lie_on_what_carries_them() -> None:
    """The words of a true render stand inside the board, and fill most of it across."""
    for name in ("sign", "storefront"):
        item = Item(name, "made", (0.1, 0.1, 0.9, 0.9), colour="yellow", words="MAGIC")
        with_words, without = (render(Scene("x", (i,)), 256) for i in (item, replace(item, words="I")))
        x0, y0, x1, y1 = (256 * board_of(name, torch.tensor(item.box))).tolist()
        rows, columns = np.nonzero((with_words != without).any(2))
        assert x0 <= columns.min() and columns.max() <= x1 and y0 <= rows.min() and rows.max() <= y1
        assert columns.max() - columns.min() > 0.7 * (x1 - x0)


def test_the_shipped_judge_answers_as_before() -> None:
    judge = Judge.open("judge", "cpu")
    world = World("small", "unseen")
    first = judge.detect([world[0].picture])[0]
    best = [(d.name, d.colour, d.form, d.style, round(d.score, 2)) for d in first.found[:2]]
    assert best == [("flower pot", "white", "pentagon", None, 0.87), ("clock", "yellow", "pentagon", None, 0.63)]
    assert first.place == "pink" and judge.attributes == frozenset()
    assert all(not d.outfit and d.words is None and not d.does for d in first.found)


def test_boards_that_are_hardly_seen_are_not_read() -> None:
    """From a fifth on, whatever else is reported."""
    names, boxes = ["sign", "sign", "cat"], [(0.1, 0.1, 0.9, 0.9)] * 3
    here = torch.zeros(3, dtype=torch.int64)
    spotted = RawDetections(here, here, here, torch.tensor([0.19, 0.21, 0.9]))
    assert list(_words(Detector(GALLERY).eval(), torch.rand(1, 3, 64, 64), spotted, names, boxes)) == [1]
