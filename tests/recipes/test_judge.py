"""The judge as a whole: the truth it is given, learning by heart, looking, its checkpoint, its run folder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.config import override
from pinxit.data.order import order_batch
from pinxit.errors import CheckpointError, DataError, PinxitError, UsageError
from pinxit.functional.boxes import Detection, Detections, iou
from pinxit.models.detector import Detector, DetectorConfig
from pinxit.recipes.clip.presets import labels
from pinxit.recipes.dalle.presets import nano
from pinxit.recipes.judge import judge as recipe
from pinxit.recipes.judge import training
from pinxit.recipes.judge.detect import detect
from pinxit.recipes.judge.judge import Judge, JudgeConfig, config_for, describe, parse_world, train
from pinxit.recipes.judge.targets import FORM, object_table, place_answer, unpack
from pinxit.recipes.judge.training import JudgeTask, detector_loss
from pinxit.training.plan import Plan
from pinxit.training.rows import all_rows
from pinxit.types import Example
from pinxit.weights.checkpoint import Part, open_checkpoint, save_checkpoint
from pinxit.world.draw import render
from pinxit.world.scene import Item, Scene
from pinxit.world.vocabulary import COLOURS, FORMS, lexicon
from pinxit.world.world import World
from tests.ranks import forked

WORDS = lexicon("small")
TINY = DetectorConfig(
    tuple(WORDS.nouns),
    COLOURS,
    FORMS,
    WORDS.styles,
    (*COLOURS, *WORDS.places),
    widths=(32, 48, 64),
    blocks=(1, 1, 1),
    neck=48,
)
CONFIG = JudgeConfig(TINY, Plan(images=32, batch=8, lr=1e-3, ema=0.9, channels_last=True, precision="fp32"))


def test_the_table_holds_every_object_with_untold_facts_left_open() -> None:
    clock = Item("clock", "made", (0.5, 0.25, 1.0, 0.75), colour="green", form="triangle")
    cat = Item("cat", "sprite", (0.0, 0.0, 0.25, 0.5))
    table = object_table(Scene("x", (clock, cat), place="snow"), TINY)
    names, green, triangle = TINY.names, COLOURS.index("green"), FORMS.index("triangle")
    assert table[0].tolist() == [names.index("clock"), 0.5, 0.25, 1.0, 0.75, green, triangle, 0]
    assert table[1].tolist() == [names.index("cat"), 0, 0, 0.25, 0.5, -1, -1, 0]
    assert (table[2:] == -1).all()
    true = unpack(table[None], torch.zeros(1, len(table), 20, dtype=torch.bool), 16)
    torch.testing.assert_close(true.centre, torch.tensor([[12.0, 8.0], [2.0, 4.0]]))
    torch.testing.assert_close(true.extent.exp(), torch.tensor([[0.5, 0.5], [0.25, 0.5]]))
    assert place_answer(Scene("x", (cat,), place="snow"), TINY) == TINY.places.index("snow")


def test_a_pair_is_there_twice() -> None:
    scene = Scene("pair", (Item("cat", "sprite", (0.2, 0.1, 0.5, 0.4)),), lower_style="pencil sketch")
    table = object_table(scene, TINY)
    assert (table[:, 0] >= 0).sum() == 2
    torch.testing.assert_close(table[1, 1:5], torch.tensor([0.2, 0.6, 0.5, 0.9]))
    assert table[:2, 7].tolist() == [0, 1]
    assert place_answer(scene, TINY) == -1


def test_unknown_things_and_pictures_without_facts_are_refused() -> None:
    with pytest.raises(DataError, match="'dragon'"):
        object_table(Scene("x", (Item("dragon", "sprite", (0, 0, 1, 1)),)), TINY)

    class Photos:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Example:
            return Example(np.zeros((64, 64, 3), np.uint8), ("a photo",), f"photo {index}")

    with pytest.raises(DataError, match="photo"):
        JudgeTask(Photos(), TINY).batch(all_rows(0, 1))


def test_learns_eight_renders_by_heart() -> None:
    """Names, colours and boxes of every object; nothing else is found."""
    world = World("small", "train")
    task = JudgeTask(world, TINY)
    batch = {
        name: t if t.dtype != torch.bool else torch.zeros_like(t) for name, t in task.batch(all_rows(0, 8)).items()
    }
    batch |= {"faced": torch.zeros(8, dtype=torch.bool), "asked": torch.zeros(8, dtype=torch.int64)}
    scenes = [world.scene(int(index)) for index in order_batch(0, 8, len(world), 0)]
    pictures, detector = batch["pictures"].float() / 255, task.detector
    optimiser = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    for update in range(90):
        optimiser.zero_grad()
        torch.autograd.backward(detector_loss(detector, pictures, batch)[0])
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
        optimiser.step()
        if update % 10 == 9 and not mistakes(scenes, detector, pictures):
            break
    assert mistakes(scenes, detector, pictures) == []


def mistakes(scenes: list[Scene], detector: Detector, pictures: torch.Tensor) -> list[str]:
    """Things that are missed, found elsewhere, seen in another colour, or found and not there."""
    told = []
    for scene, detections in zip(scenes, detect(detector.eval(), pictures), strict=True):
        found = sorted((d for d in detections.found if d.score > 0.3), key=lambda d: d.box)
        copies = 2 if scene.lower_style else 1
        if sorted(d.name for d in found) != sorted([i.name for i in scene.items] * copies):
            told.append(describe(detections))
            continue
        for item in scene.items:
            nearest = max(found, key=lambda d, box=item.box: iou(d.box, box))  # type: ignore[misc]
            right = nearest.name == item.name and iou(nearest.box, item.box) > 0.6
            if not right or item.colour not in (None, nearest.colour):
                told.append(f"{item} is seen as {nearest}")
    detector.train()
    return told


def test_a_run_stops_goes_on_and_ends_in_a_checkpoint(tmp_path: Path) -> None:
    half = replace(CONFIG, plan=replace(CONFIG.plan, images=16))
    outcome, folder = train(half, tmp_path, "cpu", progress=False)
    assert outcome.finished and (tmp_path / "detector" / "preview.png").is_file()
    outcome, folder = train(CONFIG, tmp_path, "cpu", progress=False)
    assert outcome.finished and outcome.progress.images == 32
    opened = Judge.open(folder, "cpu")
    assert opened.world == "small" and opened.detector.config == TINY and len(opened.hash) == 12
    pictures = [render(World("small", "seen").scene(i), size) for i, size in enumerate((64, 64, 128))]
    assert len(opened.detect(pictures)) == 3
    further, at = train(CONFIG, tmp_path / "more", "cpu", progress=False, init=open_checkpoint(folder))
    assert further.finished and open_checkpoint(at).provenance["images"] == 64
    assert open_checkpoint(at).provenance["started_from"] == opened.hash
    weights = folder / "detector.safetensors"
    before = weights.stat().st_size
    train(replace(CONFIG, store="int8"), tmp_path, "cpu", progress=False)
    assert weights.stat().st_size < 0.75 * before and len(Judge.open(folder, "cpu").detect(pictures)) == 3
    with pytest.raises(UsageError, match="seed=0, not 1"):
        train(replace(CONFIG, seed=1), tmp_path, "cpu", progress=False)
    with pytest.raises(UsageError, match="detector"):
        train(replace(CONFIG, detector=replace(TINY, neck=56)), tmp_path, "cpu", progress=False)


def test_a_resumed_run_remembers_the_judge_that_it_started_from(tmp_path: Path) -> None:
    half = replace(CONFIG, plan=replace(CONFIG.plan, images=16))
    one, other = (open_checkpoint(train(half, tmp_path / name, "cpu", progress=False)[1]) for name in "ab")
    other = replace(other, settings={**other.settings, "more": 1})
    straight = train(CONFIG, tmp_path / "straight", "cpu", progress=False, init=one)[1]
    for init in (one, None):
        cut = train(half if init else CONFIG, tmp_path / "cut", "cpu", progress=False, init=init)[1]
    expected = open_checkpoint(straight).provenance
    assert open_checkpoint(cut).provenance == expected
    assert expected["images"] == 48 and expected["started_from"] == one.hash
    with pytest.raises(UsageError, match=f"started from checkpoint {one.hash}, not {other.hash}"):
        train(CONFIG, tmp_path / "cut", "cpu", progress=False, init=other)
    with pytest.raises(UsageError, match=f"started from nothing, not from checkpoint {one.hash}"):
        train(CONFIG, tmp_path / "b", "cpu", progress=False, init=one)


def test_a_run_of_before_starts_were_noted_is_believed(tmp_path: Path) -> None:
    """It may have begun from a judge or from nothing; what it is resumed with is noted, and holds from then on."""
    half = replace(CONFIG, plan=replace(CONFIG.plan, images=16))
    one = open_checkpoint(train(half, tmp_path / "one", "cpu", progress=False)[1])
    for init in (one, None):
        (tmp_path / "one" / "start.json").unlink(missing_ok=True)
        told = open_checkpoint(train(half, tmp_path / "one", "cpu", progress=False, init=init)[1]).provenance
        assert (told["started_from"], told["images"]) == ((one.hash, 32) if init else (None, 16))
    train(half, tmp_path / "one", "cpu", progress=False, init=one)
    with pytest.raises(UsageError, match=f"started from checkpoint {one.hash}, not "):
        train(half, tmp_path / "one", "cpu", progress=False, init=replace(one, settings={}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"names": (*TINY.names[1:], TINY.names[0])}, "was trained for other names than this run's: leave --init-from"),
        ({"styles": ()}, "the initial weights of 'detector' are of another model"),
        ({"neck": 56}, "the initial weights of 'detector' are of another model"),
        ({}, "plan.lora=4096: no matrix has more rows and columns"),
    ],
)
def test_what_a_judge_cannot_begin_with_leaves_nothing(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    """Least of all weights whose rows are of other words."""
    random = Part(TINY, Detector(TINY).state_dict())
    save_checkpoint(tmp_path / "one", recipe.RECIPE, {"detector": random}, settings={"world": "small"})
    plan = replace(CONFIG.plan, lora=0 if changes else 4096)
    config = replace(CONFIG, detector=replace(TINY, **changes), plan=plan)
    with pytest.raises(PinxitError, match=told):
        train(config, tmp_path / "run", "cpu", progress=False, init=open_checkpoint(tmp_path / "one"))
    assert not (tmp_path / "run").exists()


def test_ranks_share_a_judge_s_run(tmp_path: Path) -> None:
    """One of them holds the lock and writes the checkpoint."""
    plan = replace(CONFIG.plan, images=8, shard=True)
    forked(2, train_as_rank, replace(CONFIG, plan=plan), tmp_path)
    assert open_checkpoint(tmp_path / recipe.RECIPE).provenance["images"] == 8


def train_as_rank(rank: int, config: JudgeConfig, out: Path) -> None:
    assert train(config, out, "cpu", progress=False)[0].finished


def test_batches_are_a_function_of_position() -> None:
    one, same = (JudgeTask(World("small", "train"), TINY, seed=3) for _ in range(2))
    full = one.batch(all_rows(0, 4))
    later = same.batch(all_rows(2, 2))
    for name in full:
        torch.testing.assert_close(full[name][2:], later[name])
    assert not torch.equal(
        JudgeTask(World("small", "train"), TINY, seed=4).batch(all_rows(0, 4))["pictures"], full["pictures"]
    )


def test_the_seed_is_the_runs_and_no_plans() -> None:
    one, other = (recipe.build(replace(CONFIG, seed=seed)).detector.state_dict() for seed in (1, 2))
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())
    everyones: list[tuple[Any, str]] = [(CONFIG, "plan"), (labels(), "plan"), (nano(), "plans.clip")]
    for config, plan in everyones:
        with pytest.raises(UsageError, match="no field 'seed'"):
            override(config, [f"{plan}.seed=7"])


def test_what_is_no_judge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Judge.open(tmp_path / "nowhere")
    assert parse_world("world:small") == "small"
    for bad in ("folder", "world:", "shards:x"):
        with pytest.raises(UsageError, match="world:small"):
            parse_world(bad)
    with pytest.raises(UsageError, match="'huge'"):
        config_for("huge")
    assert config_for("small").detector.names == tuple(WORDS.nouns)
    assert recipe.card(CONFIG, 64).count("world:small") == 2


@pytest.mark.parametrize(
    ("batch", "told"), [(0, "batch must be at least 1, not 0"), (-3, "not -3"), (2.0, "whole number")]
)
def test_a_judge_takes_any_sequence_and_no_batch_below_one(batch: Any, told: str) -> None:
    """A negative one found nothing in any picture."""
    pictures, judge = (
        [np.full((64, 64, 3), level, np.uint8) for level in (9, 99, 199)],
        Judge(Detector(TINY).eval(), "small"),
    )
    assert judge.detect(iter(pictures), batch=np.int64(2)) == judge.detect(pictures, batch=2)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=told):
        judge.detect(pictures, batch=batch)


def test_faced_pictures_teach_forms_alone() -> None:
    """What has a strange inside says nothing of names, colours and boxes, but its outline still has a form."""
    task = JudgeTask(World("small", "train"), TINY)
    batch = task.batch(all_rows(0, 16))
    pictures = batch["pictures"].float() / 255
    asked = torch.zeros(16, dtype=torch.int64)
    flat = batch | {"objects": batch["objects"].clone(), "asked": asked, "faced": torch.ones(16, dtype=torch.bool)}
    flat["objects"][:, :, [5, 7]] = -1.0  # colours and styles, as the task leaves them out
    parts = detector_loss(task.detector.eval(), pictures, flat)[1]
    assert all(float(parts[name].detach()) == 0 for name in ("heat", "name", "offset", "extent", "colour", "style"))
    assert float(parts["form"].detach()) > 0
    other = detector_loss(task.detector.eval(), pictures, flat | {"asked": asked + 1})[1]
    assert float(other["form"].detach()) != float(parts["form"].detach())


def test_losses_are_means_over_what_is_shown() -> None:
    """So that the same pictures twice have the losses of once."""
    task = JudgeTask(World("small", "train"), TINY)
    batch = task.batch(all_rows(0, 8)) | {"faced": torch.arange(8) < 2, "asked": torch.arange(8)}
    pictures = batch["pictures"].float() / 255
    once = detector_loss(task.detector.eval(), pictures, batch)[1]
    twice = detector_loss(task.detector, pictures.repeat(2, 1, 1, 1), {k: torch.cat([t, t]) for k, t in batch.items()})
    torch.testing.assert_close(twice[1], once, atol=1e-5, rtol=1e-4)
    assert {"heat", "name", "offset", "extent"} <= once.keys() and all(float(one.detach()) > 0 for one in once.values())


def test_pictures_get_a_strange_inside_only_where_they_show_a_flat_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first form counts, a form of sprites and an unknown one do not, and one such thing of several is enough."""
    config = replace(TINY, forms=(*FORMS, "avocado"))
    first, last, own = 0, len(FORMS) - 1, len(FORMS)
    task, met = JudgeTask(World("small", "train"), config), list[tuple[list[int], list[float]]]()

    def faced(pictures: Tensor, picture_M: Tensor, box_M4: Tensor, drawn_M14: Tensor) -> Tensor:
        met.append((picture_M.tolist(), box_M4[:, 0].tolist()))
        return pictures

    monkeypatch.setattr(training, "faced", faced)
    monkeypatch.setattr(training, "FACED", 1.0)
    batch, rows = task.batch(all_rows(0, 4)), all_rows(0, 4)
    batch["objects"] = torch.full_like(batch["objects"], -1.0)
    for picture, forms in enumerate([(first, -1), (own, -1), (own, last), (-1,)]):
        for place, form in enumerate(forms):
            batch["objects"][picture, place, :5] = torch.tensor([0, place / 2, 0.2, place / 2 + 0.5, 0.8])
            batch["objects"][picture, place, FORM] = form
    task.loss(batch, rows)
    assert met == [([0, 2], [0.0, 0.5])]


def test_the_form_that_a_thing_has_by_nature_weighs_by_itself() -> None:
    """It is the first form behind the flat ones here; of faced pictures, whose names do not count, it is nothing."""
    config, own = replace(TINY, names=("avocado", "clock"), forms=(*FORMS, "avocado")), len(FORMS)

    def weighs(name: int, form: int, named: bool = True) -> tuple[bool, bool]:
        none, one = torch.zeros(1, 2), torch.zeros(1, 1)
        said: Any = SimpleNamespace(offset=none, extent=none, colour=one, form=torch.zeros(1, own + 1), style=one)
        true: Any = SimpleNamespace(centre=none, extent=none, unshown=torch.zeros(1, own + 3, dtype=torch.bool))
        true.name, true.form = torch.tensor([name]), torch.tensor([form])
        found = training._description_loss(said, true, torch.tensor([named]), config)
        return float(found["form"]) > 0, float(found["own form"]) > 0

    assert weighs(0, own) == (False, True) and weighs(0, own, named=False) == (False, False)
    assert weighs(1, own) == weighs(0, 0) == weighs(1, own - 1) == (True, False) and weighs(0, -1) == (False, False)


def test_the_preview_shows_the_world_that_is_learnt() -> None:
    config = replace(CONFIG, world="gallery", detector=replace(TINY, size=48))
    draw = recipe.build(config).draw
    assert isinstance(draw, partial)
    world = World("gallery", "train", size=48)
    expected = [world[i].picture for i in range(12)]
    assert [one.tobytes() for one in draw.keywords["pictures"]] == [one.tobytes() for one in expected]


def test_one_thing_that_is_found_twice_is_told_once() -> None:
    """Two neighbouring cells that answer with all but the same box, and a third with another name."""
    detector = Detector(TINY).eval()
    found = detector(torch.zeros(1, 3, 64, 64))
    heat = torch.full_like(found.heat, -10.0)
    for name, cell, logit in ((0, 0, 4.0), (0, 2, 3.0), (1, 0, 2.0)):
        heat[0, name, 8, 8 + cell] = logit
    told = detector.describe(found, torch.zeros(3).long(), torch.tensor([0, 0, 1]), torch.tensor([136, 138, 136]))
    middle = torch.tensor([[0.5, 0.0], [-1.5, 0.0], [0.5, 0.0]])
    same = told._replace(offset=middle, extent=torch.zeros(3, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Detector, "forward", lambda self, x: found._replace(heat=heat))
        patch.setattr(Detector, "describe", lambda self, *_: same)
        (detections,) = detect(detector, torch.zeros(1, 3, 64, 64))
    assert sorted(one.name for one in detections.found) == sorted(TINY.names[:2])


def test_what_is_found_is_put_into_words() -> None:
    """Best first as given, without what is hardly there; a picture of nothing says so."""
    box = (0.1, 0.1, 0.5, 0.5)
    dressed = Detection("owl", box, 0.9, outfit=(("red", "hat"), ("blue", "scarf")))
    found = (Detection("sign", box, 0.97, "blue", words="TEA"), dressed, Detection("snail", box, 0.5, material="harp"))
    told = describe(Detections((*found, Detection("cat", box, 0.29)), "snow", "from above", "at night"))
    owl = "owl in a red hat in a blue scarf 0.90"
    assert told == f"blue sign that says TEA 0.97, {owl}, snail of harp 0.50; snow; from above; at night"
    assert describe(Detections((Detection("cat", box, 0.29),))) == "nothing"
