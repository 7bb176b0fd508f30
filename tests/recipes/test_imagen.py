"""Imagen end to end on flat squares: the loss, the stages, the painter and the upsampler, with a tiny random reader."""

from __future__ import annotations

import math
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pinxit.api import load
from pinxit.config import override
from pinxit.data.bank import Bank
from pinxit.data.embeddings import Embeddings
from pinxit.data.writing_systems import captions_in
from pinxit.errors import CheckpointError, UsageError
from pinxit.functional.diffusion import Prediction, even_sigmas, q_sample, sigma_at, target
from pinxit.functional.diffusion_losses import squared_error
from pinxit.functional.draws import OneStream
from pinxit.functional.samplers import SAMPLERS, Denoised, drive
from pinxit.models.text import TextTransformerConfig
from pinxit.recipes.clip.ranker import AnyRanker
from pinxit.recipes.command import command
from pinxit.recipes.diffusion.conditions import Noising, texts
from pinxit.recipes.diffusion.config import TextEncoderConfig
from pinxit.recipes.diffusion.denoiser import UNetDenoiser
from pinxit.recipes.diffusion.inputs import blurred, cropped
from pinxit.recipes.diffusion.losses import spread, weights
from pinxit.recipes.diffusion.painter import levels
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.diffusion.task import DiffusionTask
from pinxit.recipes.imagen.config import ImagenConfig
from pinxit.recipes.imagen.painter import ImagenPainter
from pinxit.recipes.imagen.presets import PRESETS, preset, read_by, with_models
from pinxit.recipes.imagen.release import card, write_checkpoint
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.imagen.stages import train
from pinxit.recipes.painting import Painter
from pinxit.training.log import read_metrics
from pinxit.training.loop import fit
from pinxit.training.machine import machine
from pinxit.training.rows import all_rows
from pinxit.training.state import FILE
from pinxit.training.stop import Stop
from pinxit.types import EncodedText
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.world import World
from tests.functional.helpers import eps_from_x0
from tests.recipes.curves import check_curve
from tests.recipes.squares import write_squares

pytest.importorskip("transformers")
from tests.recipes.imagens import planned, tiny_config, with_a_third
from tests.text.tiny_models import save_tiny

FEW = ("stages.base.pictures=8", "stages.upsampler.pictures=8")
GOLDEN = Path(__file__).parent / "golden" / "imagen-nano.json"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("imagen")


@pytest.fixture(scope="module")
def config(folder: Path) -> ImagenConfig:
    """The nano preset on eight flat squares, read by a random BERT, ranked by a random CLIP."""
    squares = folder / "squares"
    squares.mkdir()
    write_squares(squares)
    config = tiny_config(folder, f"data.source={squares}", *FEW, "data.names=many")
    return planned(config, images=96, batch=8, warmup=16, precision="fp32")


@pytest.fixture(scope="module")
def straight(config: ImagenConfig, folder: Path) -> ImagenRun:
    run = ImagenRun(folder / "straight", config, "cpu", progress=False)
    ended = train(run)
    assert ended.finished == run.stages and not ended.stopped
    return run


@pytest.fixture(scope="module")
def painter(straight: ImagenRun) -> ImagenPainter:
    found = load(straight.path("checkpoint"), device="cpu")
    assert isinstance(found, ImagenPainter)
    return found


class Impatient(Stop):
    """Time is up every seventh time somebody asks."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def due(self) -> bool:
        self.asked += 1
        return self.asked >= 7


def test_many_invocations_end_where_one_does(straight: ImagenRun, tmp_path: Path) -> None:
    cut, invocations = ImagenRun(tmp_path, straight.config, "cpu", progress=False), 0
    while train(cut, stop=Impatient()).finished != cut.stages:
        invocations += 1
        assert invocations < 30, "no invocation may end where it began"
    assert invocations > 2
    for stage in straight.config.cascade:
        one, other = load_file(straight.path(stage) / FILE), load_file(cut.path(stage) / FILE)
        assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_what_has_learnt_is_neither_changed_nor_taken_out(straight: ImagenRun) -> None:
    """Others may come: a second upsampler behind the first."""
    for config, told in (
        (replace(straight.config, stages=straight.config.stages[:1]), r"started with stages\.upsampler="),
        (straight.config.changed("base", pictures=9), r"started with stages\.base\.pictures=8, not 9"),
        (straight.config.changed("upsampler", crop=32), r"started with stages\.upsampler\.crop=16, not 32"),
    ):
        with pytest.raises(UsageError, match=told):
            replace(straight, config=config).enter()
    before = (straight.folder / "run.json").read_bytes()
    try:
        replace(straight, config=with_a_third(straight.config)).enter()
        assert b"second_upsampler" in (straight.folder / "run.json").read_bytes()
    finally:
        (straight.folder / "run.json").write_bytes(before)


def test_losses_follow_the_golden_curve(straight: ImagenRun) -> None:
    check_curve(straight, straight.config.cascade, GOLDEN, updates=12, most=0.003)


class Words:
    """A reader without a model: every word has a random vector of its own."""

    name, width, pooled_width, length, precision, padded, fingerprint = "words", 32, 32, 6, "fp32", False, "words"

    def encode(self, texts: Sequence[str], batch: int = 1) -> EncodedText:
        sequence, mask = torch.zeros(len(texts), self.length, self.width), torch.zeros(len(texts), self.length).bool()
        for row, text in enumerate(texts):
            for place, word in enumerate(text.split()[: self.length]):
                generator = torch.Generator().manual_seed(zlib.crc32(word.encode()))
                sequence[row, place] = torch.randn(self.width, generator=generator)
                mask[row, place] = True
        return EncodedText(sequence, sequence.mean(1), mask)


def test_eight_pictures_are_learnt_by_heart(straight: ImagenRun, tmp_path: Path) -> None:
    """After some updates DDIM draws the very square that its caption names, from any noise."""
    stage = override(straight.config.stages[0].network, ["unet.patch=4", "unet.channels=[32,32]"])
    reader, bank = Words(), straight.bank()
    task = DiffusionTask("base", stage, 0, (6, 32), bank, reader, drop=0.0)  # type: ignore[arg-type]
    plan = replace(straight.config.stages[0].plan, images=8 * 180, batch=8, lr=4e-3, warmup=160, ema=0.95)
    plan = replace(plan, preview_every=2**40, log_every=8 * 180)
    captions = [bank.captions[row][0] for row in range(8)]
    true = torch.from_numpy(np.array(bank.pictures[:8])).permute(0, 3, 1, 2).float() / 127.5 - 1
    for updates in (120, 150, 180):
        fit(task, plan, tmp_path, "cpu", progress=False, stop_after=8 * updates)
        found = eight_drawn(UNetDenoiser(task.unet.eval(), stage.diffusion, 16, CPU, autocast=False), reader, captions)
        task.unet.train()
        apart = (found[:, None] - true[None]).square().mean((2, 3, 4))
        learnt = bool((apart.argmin(1) == torch.arange(8)).all()) and apart.diagonal().mean() < 0.8 * apart.mean()
        if learnt:
            break
    assert learnt, apart


@torch.no_grad()
def eight_drawn(denoiser: UNetDenoiser, reader: Any, captions: Sequence[str]) -> Tensor:
    conditions, sigmas = texts(reader, captions), even_sigmas("cosine", 12)
    noise = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * sigmas[0]
    return drive(
        SAMPLERS["ddim"].run(noise, sigmas, lambda: noise),
        lambda x, s: Denoised(denoiser(x, torch.full((8,), s), conditions).x0.clamp(-1, 1)),
    )


@pytest.mark.parametrize("kind", ["eps", "v", "x0"])
def test_a_perfect_network_denoises_perfectly(kind: Prediction) -> None:
    x0, noise = torch.rand(3, 3, 8, 8) * 2 - 1, torch.randn(3, 3, 8, 8)
    sigma = torch.tensor([0.02, 1.0, 30.0])
    seen: list[Tensor] = []

    class Perfect(nn.Module):
        def forward(self, z: Tensor, time: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
            assert torch.allclose(z, q_sample(x0, noise, sigma), atol=1e-5)
            seen.append(time)
            return target(kind, x0, noise, sigma)

    denoiser = UNetDenoiser(Perfect(), DiffusionConfig(kind), 8, torch.device("cpu"), autocast=False)  # type: ignore[arg-type]
    found = denoiser(x0 + sigma[:, None, None, None] * noise, sigma, {}).x0
    assert torch.allclose(found, x0, atol=1e-4)
    assert torch.allclose(sigma_at("cosine", seen[0] / 1000).float(), sigma, rtol=1e-3)


def test_a_batch_and_its_loss_are_functions_of_the_position(straight: ImagenRun) -> None:
    one, other = straight.task("base"), straight.task("base")
    a, b = one.batch(all_rows(16, 8)), other.batch(all_rows(16, 8))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert one.loss(a, all_rows(16, 8))[0] == other.loss(b, all_rows(16, 8))[0] != one.loss(a, all_rows(24, 8))[0]


@pytest.mark.parametrize("kind", ["eps", "v", "x0"])
def test_any_prediction_can_be_weighed_as_v(kind: Prediction) -> None:
    """An error of x0 costs the same in every parametrisation, up to the limit near clean pictures."""
    x0, off, noise = torch.rand(3, 3, 8, 8) * 2 - 1, 0.1 * torch.randn(3, 3, 8, 8), torch.randn(3, 3, 8, 8)
    sigma = torch.tensor([0.5, 1.0, 30.0], dtype=torch.float64)
    z = q_sample(x0, noise, sigma)
    told = {name: told_for(name, x0 + off, z, sigma) for name in ("v", kind)}
    plain = squared_error(told["v"], target("v", x0, noise, sigma))
    about = DiffusionConfig(kind, weight="v")
    weighed = squared_error(told[kind], target(kind, x0, noise, sigma), weights(about, sigma))
    assert torch.allclose(weighed, plain, rtol=1e-3)
    near = weights(DiffusionConfig("x0", weight="v"), torch.tensor([1e-3], dtype=torch.float64))
    assert near is not None and near.item() == 400


def told_for(kind: Prediction, x0: Tensor, z: Tensor, sigma: Tensor) -> Tensor:
    """What a network that takes the picture for `x0` says."""
    return target(kind, x0, eps_from_x0(z, x0, sigma), sigma)


def test_texts_read_beforehand_are_the_ones_read_in_training(straight: ImagenRun, tmp_path: Path) -> None:
    """Every row of a batch is what the reader says of one of its picture's captions, or nothing at all."""
    config = override(straight.config, ["text.stored=2", "text.drop=0.3"])
    run = ImagenRun(tmp_path, config, "cpu", progress=False)
    assert "texts" in train(run, ("pictures", "texts")).finished
    task = run.task("base")
    assert isinstance(task.stored, Embeddings) and task.bank is not None
    said = [[texts(run.reader("base"), [task.stored.text(row, k)]) for k in range(2)] for row in range(8)]
    found, dropped = set(), 0
    for position in range(0, 160, 16):
        batch = task.batch(all_rows(position, 16))
        for picture, sequence, mask in zip(batch["pictures"], batch["sequence"], batch["mask"], strict=True):
            row = next(row for row in range(8) if np.array_equal(picture, task.bank.pictures[row]))
            dropped += not mask.any()
            for which, told in enumerate(said[row]):
                if torch.equal(mask, told["mask"][0]):  # the two are of different length
                    assert torch.allclose(sequence[mask], told["sequence"][0][mask], atol=2e-2)
                    found.add((row, which))
    assert len(found) == 16
    assert dropped / 160 == pytest.approx(0.3, abs=0.12)
    again = run.task("base").batch(all_rows(16, 16))
    assert all(torch.equal(tensor, again[name]) for name, tensor in task.batch(all_rows(16, 16)).items())


def test_texts_that_have_been_read_settle_how_many(straight: ImagenRun, tmp_path: Path) -> None:
    """More captions asked for later would otherwise be neither read nor missed."""
    runs = [
        ImagenRun(tmp_path, override(straight.config, [f"text.stored={count}"]), "cpu", progress=False)
        for count in (1, 2)
    ]
    train(runs[0], ("pictures", "texts"))
    with pytest.raises(UsageError, match=r"started with text\.stored=1, not 2"):
        train(runs[1], ("base",))


def test_a_world_is_drawn_with_the_names_that_are_asked_for(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "data.source=world:small", *FEW, "data.names=many")
    run = ImagenRun(tmp_path / "run", config, "cpu", progress=False)
    train(run, ["pictures"])
    world = World("small", names="many", seed=config.seed)
    found = Bank.open(run.path("pictures")).captions
    assert [found[k] for k in range(8)] == [world.captions(k) for k in range(8)]


def test_texts_must_be_read_before_training(straight: ImagenRun, tmp_path: Path) -> None:
    run = ImagenRun(tmp_path, override(straight.config, ["text.stored=1"]), "cpu", progress=False)
    train(run, ("pictures",))
    with pytest.raises(UsageError, match="stage base builds on stage texts"):
        train(run, ("base",))
    with pytest.raises(UsageError, match=r"text\.stored must be 0"):
        TextEncoderConfig(stored=1, learned=TextTransformerConfig(vocab=300, tokens=128))


@pytest.mark.parametrize("stage", ["base", "upsampler"])
def test_a_reader_of_another_width_is_refused(straight: ImagenRun, tmp_path: Path, stage: str) -> None:
    """Before the base is trained, also where only its upsampler expects another."""
    run = ImagenRun(tmp_path, override(straight.config, [f"stages.{stage}.unet.text=64"]), "cpu", progress=False)
    train(run, ("pictures",))
    with pytest.raises(UsageError, match=rf"gives vectors of width 32, and stages\.{stage}\.unet\.text=64"):
        train(run, ("base",))
    assert not run.started("base")


@pytest.mark.parametrize("stage", ["base", "upsampler"])
def test_a_tenth_of_the_captions_is_dropped(straight: ImagenRun, stage: str) -> None:
    task = straight.task(stage)
    gone = sum((~task.batch(all_rows(64 * k, 64))["mask"]).all(1).sum().item() for k in range(40))
    assert gone / (64 * 40) == pytest.approx(0.1, abs=0.02)


def test_a_dropped_caption_is_what_guidance_leads_away_from(straight: ImagenRun) -> None:
    """Painting's null condition and training's dropped caption look the same to the network."""
    task, sigma, x = straight.task("base"), torch.tensor([1.0]), torch.randn(1, 3, 16, 16)
    for parameter in task.unet.parameters():  # nothing may hide behind an initial zero
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    denoiser = UNetDenoiser(task.unet, task.config.diffusion, 16, torch.device("cpu"), autocast=False)
    dropped = texts(straight.reader("base"), [""])
    prompt = texts(straight.reader("base"), ["a red cat on the tree"])
    null = prompt | {"mask": torch.zeros_like(prompt["mask"])}
    with torch.no_grad():
        assert torch.equal(denoiser(x, sigma, dropped).x0, denoiser(x, sigma, null).x0)
        assert not torch.equal(denoiser(x, sigma, prompt).x0, denoiser(x, sigma, null).x0)


@pytest.mark.parametrize("shuffled", [False, True])
def test_times_are_spread_evenly(shuffled: bool) -> None:
    times = spread(0, "times", all_rows(64, 64), torch.device("cpu"), shuffled).sort().values
    assert times[0] >= 0 and times[-1] < 1
    assert torch.allclose(times.diff(), torch.full((63,), 1 / 64, dtype=torch.float64))


def test_crops_lie_on_the_grid_of_the_smaller_picture() -> None:
    stored = np.arange(32 * 32, dtype=np.int64).reshape(1, 32, 32, 1).repeat(50, 0)
    found = cropped(stored, 16, 4, np.random.default_rng(0).random((50, 2)))  # type: ignore[arg-type]
    corners = found[:, 0, 0, 0]
    assert found.shape == (50, 16, 16, 1) and set(corners // 32 % 4) == {0} and set(corners % 32 % 4) == {0}
    assert len(set(corners.tolist())) > 10


def test_augmentation_of_nothing_leaves_the_smaller_picture() -> None:
    small, noise = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 16, 16)
    plain = Noising()(small, torch.zeros(2), noise)
    enlarged = torch.nn.functional.interpolate(small, (16, 16), mode="bilinear", align_corners=False)
    assert torch.equal(plain["low_res"], enlarged) and plain["augmentation"].tolist() == [0, 0]
    noised = Noising()(small, torch.full((2,), 0.5), noise)
    assert (noised["low_res"] - enlarged).std() > 0.3 and noised["augmentation"].tolist() == [500, 500]
    middle = (enlarged + noise) / 2**0.5  # of the cosine, all but
    torch.testing.assert_close(noised["low_res"], middle, atol=0.04, rtol=0)


def test_the_condition_of_a_crop_is_a_crop_of_the_condition() -> None:
    """Away from the crop's edge: what is learned on crops holds for whole pictures. Means stay where they were."""
    small, none = torch.rand(1, 3, 16, 16), torch.zeros(1)
    whole = Noising()(small, none, torch.zeros(1, 3, 64, 64))["low_res"]
    part = Noising()(small[..., 4:12, 4:12], none, torch.zeros(1, 3, 32, 32))["low_res"]
    torch.testing.assert_close(part[..., 2:-2, 2:-2], whole[..., 18:46, 18:46])
    ramp = torch.arange(64.0).expand(1, 3, 64, 64)
    again = Noising()(torch.nn.functional.avg_pool2d(ramp, 4), none, torch.zeros(1, 3, 64, 64))["low_res"]
    torch.testing.assert_close(again[..., 2:-2], ramp[..., 2:-2])


def test_a_candidate_is_the_same_in_any_company(painter: ImagenPainter) -> None:
    asked: Painter = painter
    alone = asked.paint("a red square on the left", candidates=2, keep=None, seed=7)
    many = asked.paint_many([("left: blue", 1), ("a red square on the left", 7)], candidates=5, keep=None)[1]
    crowd = {one.candidate: one.picture for one in many}
    assert all(np.array_equal(one.picture, crowd[one.candidate]) for one in alone)
    assert [one.score for one in many] == sorted((one.score for one in many), reverse=True)
    other = asked.paint("a red square on the left", candidates=2, keep=None, seed=8)
    assert not any(np.array_equal(one.picture, crowd[one.candidate]) for one in other)


def test_a_checkpoint_names_its_readers_folder_from_the_root(
    straight: ImagenRun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs once kept it as it was typed, so that painting from another folder failed."""
    monkeypatch.chdir(folder)
    old = replace(straight.config, text=replace(straight.config.text, encoder="reader"))
    write_checkpoint(ImagenRun(straight.folder, old, "cpu", progress=False))
    assert open_checkpoint(straight.path("checkpoint")).settings["text"]["encoder"] == str(folder / "reader")


def test_the_card_tells_machine_command_scores_and_licence(straight: ImagenRun) -> None:
    write_checkpoint(straight)
    folder, here = straight.path("checkpoint"), machine("cpu")
    facts, text = open_checkpoint(folder).provenance, (folder / "README.md").read_text(encoding="utf-8")
    assert text.count(f"| {here['device']}, {here['cores']} CPU cores, torch {here['torch']} | loss ") == len(
        straight.config.cascade
    )
    assert f"\n    {command('imagen', straight.config, PRESETS)}\n" in text
    assert "There is no exam for it" in text and "## Licence\n\npinxit is under Apache-2.0" in text
    config = replace(straight.config, data=replace(straight.config.data, source="world:small"))
    world = ImagenRun(straight.folder, config, "cpu", progress=False)
    measure = "pinxit eval world --checkpoint RUN/checkpoint --split unseen --prompts 500 --candidates 16"
    unmeasured = card(world, facts)
    assert measure in unmeasured and "pinxit train imagen --out RUN --stages checkpoint" in unmeasured
    asked = {"preset": "small", "split": "unseen", "prompts": 6, "language": "en", "seed": 0, "words": "held-out"}
    report: dict[str, object] = {
        "date": "2026-11-22",
        "machine": here,
        "exam": asked,
        "scores": {"best of 1": {"overall": 0.25}},
    }
    report |= {"judge": {"name": "judge", "hash": "80344cf878b2"}, "candidates": 4}
    measured = card(world, facts, report)
    assert "| best of 1 | 0.250 |" in measured and "--words held-out --seed 0 --candidates 4" in measured


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": -0.5}, "guidance must be at least 0 and finite, not -0.5"),
        ({"guidance": math.nan}, "guidance must be at least 0 and finite, not nan"),
        ({"guidance": "abc"}, "guidance must be a number, not 'abc'"),
        ({"steps": 1001}, "from 1 to 1000"),
        ({"steps": 2.5}, "steps must be a whole number, not 2.5"),
        ({"sampler": "magic"}, "no sampler 'magic'"),
        ({"grid": "square"}, "grid must be one of even, karras, not 'square'"),
        ({"percentile": 1.5}, "percentile must be from 0 to 1"),
        ({"top_k": 3}, "no setting 'top_k'"),
        ({"candidates": 0}, "candidates must be at least 1"),
    ],
)
def test_what_cannot_be_painted_is_refused(painter: ImagenPainter, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        painter.paint("a square", **settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="prompt is empty"):
        painter.paint("  ")


def test_clip_guidance_goes_where_the_clip_that_ranks_looks(painter: ImagenPainter) -> None:
    about: dict[str, Any] = {"candidates": 2, "keep": None, "agreement": 0.0, "steps": 4}
    plain, guided = (
        sorted(painter.paint("a red square", clip_guidance=step, **about), key=lambda one: one.candidate)
        for step in (0.0, 0.1)
    )
    assert all(one.score > other.score for one, other in zip(guided, plain, strict=True))
    alone = painter.paint("a red square", clip_guidance=0.1, **about | {"candidates": 1})
    assert np.array_equal(alone[0].picture, guided[0].picture)


def test_without_a_clip_there_is_no_clip_guidance(painter: ImagenPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter, "ranker", AnyRanker(None))
    monkeypatch.setitem(painter.defaults, "clip_guidance", 0.1)
    assert painter.settled({})["clip_guidance"] == 0 == painter.settled({"clip_guidance": 0})["clip_guidance"]
    with pytest.raises(UsageError, match=r"^clip_guidance has no effect on .*, which has no CLIP for it: leave it out"):
        painter.settled({"clip_guidance": 0.1})


def test_levels_descend_to_nothing_on_every_grid() -> None:
    for about in (DiffusionConfig(), DiffusionConfig(schedule="linear"), DiffusionConfig(shift=3)):
        even, karras = (levels(about, {"grid": grid, "steps": 10}) for grid in ("even", "karras"))
        for found in (even, karras):
            assert len(found) == 11 and found[-1] == 0 and all(a > b for a, b in pairwise(found))
        assert karras[0] == pytest.approx(80) and karras[1] < even[0] and karras[-2] < even[-2]


def test_a_shift_moves_training_and_sampling_alike(straight: ImagenRun) -> None:
    """Three times the noise at every time, and the network is told the noise that there is."""
    plain, shifted = DiffusionConfig("v"), DiffusionConfig("v", shift=3)
    assert shifted.even_sigmas(7) == [3 * sigma for sigma in plain.even_sigmas(7)]
    task = straight.task("base")
    seen: list[Tensor] = []
    task.unet.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    for about in (plain, shifted):
        task.config = replace(task.config, diffusion=about)
        task.loss(task.batch(all_rows(0, 8)), all_rows(0, 8))
    sigma, more = (sigma_at("cosine", time.double() / 1000) for time in seen)
    assert torch.allclose(more, 3 * sigma, rtol=1e-3)
    with pytest.raises(UsageError, match="shift must be above 0"):
        DiffusionConfig(shift=0)


def test_training_may_draw_its_noise_from_a_normal_distribution(straight: ImagenRun) -> None:
    """ln sigma has the mean and deviation that were asked for, and the network is told the noise that there is."""
    about = DiffusionConfig("v", shift=3, p_mean=0.5, p_std=0.8)
    even = torch.arange(1000, dtype=torch.float64) / 1000
    drawn = about.drawn(even).log()
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01) and drawn.std().item() == pytest.approx(0.8, rel=0.02)
    assert torch.equal(DiffusionConfig(shift=3).drawn(even), DiffusionConfig(shift=3).sigma_at(even))
    task = straight.task("base")
    task.config = replace(task.config, diffusion=about)
    seen: list[Tensor] = []
    task.unet.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    task.loss(task.batch(all_rows(0, 8)), all_rows(0, 8))
    told = sigma_at("cosine", seen[0].double() / 1000).log()
    assert told.mean().item() == pytest.approx(0.5, abs=0.2) and told.diff().gt(0).sum() >= 6  # a row that wraps once
    with pytest.raises(UsageError, match="p_std must be at least 0"):
        DiffusionConfig(p_std=-1)


def test_noise_blurs_what_is_read_and_nothing_else() -> None:
    """Gaussian, of the vectors' own size, from none to the most; what stands behind the mask counts for nothing."""
    text = 3 * torch.randn(2000, 2, 64, generator=torch.Generator().manual_seed(1))
    text[:, 1] = 1e6
    mask = torch.tensor([True, False]).expand(2000, 2)
    added = (blurred(text, mask, 2.0, OneStream(torch.Generator().manual_seed(2))) - text)[:, 0] / 3
    strength = added.square().mean(1).sqrt()
    assert strength.max() < 4 and strength.median().item() == pytest.approx(2 * 0.25, rel=0.1)
    assert strength.square().mean().item() == pytest.approx(4 / 5, rel=0.1)  # the mean of (2 u^2)^2
    assert abs(added.mean().item()) < 0.02


def test_a_task_blurs_its_text_only_where_asked(straight: ImagenRun) -> None:
    clear, noisy = straight.task("base"), straight.task("base")
    noisy.noise = 2.0
    batch, seen = clear.batch(all_rows(16, 8)), []
    for task in (clear, noisy):
        task.unet.register_forward_pre_hook(lambda _, given: seen.append(given))
        task.loss(batch, all_rows(16, 8))
    (x, time, told), (x2, time2, blurry) = [(given[0], given[1], given[2]["sequence"]) for given in seen]
    assert torch.equal(x, x2) and torch.equal(time, time2)
    assert torch.equal(told, batch["sequence"]) and not torch.equal(blurry, told)


def test_training_goes_on_from_a_checkpoint(straight: ImagenRun, tmp_path: Path) -> None:
    """Its networks and reader; what no plan trains needs no pictures and stays as it was; sums count both runs."""
    one = open_checkpoint(straight.path("checkpoint"), "imagen")
    config = with_models(override(straight.config, ["stages.upsampler.plan.images=0", "text.stored=1"]), one)
    assert config.stages[0] == straight.config.stages[0] and config.text.stored == 1
    run = ImagenRun(tmp_path / "more", config, "cpu", progress=False, init=one)
    train(run, ["pictures", "texts"])
    assert not run.path("large").exists() and not run.path("large-texts").exists()
    assert train(run).finished == run.stages
    ImagenRun(run.folder, config, "cpu", progress=False).enter()  # every stage has begun: nothing is asked again
    more = open_checkpoint(run.path("checkpoint"), "imagen")
    told = more.provenance
    assert told["started_from"] == one.hash and one.hash in (run.path("checkpoint") / "README.md").read_text()
    assert {name: stage["images"] for name, stage in told["stages"].items()} == {"base": 192, "upsampler": 96}
    for name, tensor in more.state("upsampler").items():
        assert torch.equal(tensor, one.state("upsampler")[name])
    assert not all(torch.equal(tensor, one.state("base")[name]) for name, tensor in more.state("base").items())
    assert read_metrics(run.path("base"))[0]["loss"] < read_metrics(straight.path("base"))[0]["loss"]


@pytest.mark.parametrize("change", ["seed=9", "data.names=usual", "stages.upsampler.pictures=7"])
def test_nothing_changes_under_an_upsampler_whose_base_rests(straight: ImagenRun, tmp_path: Path, change: str) -> None:
    """The base has no pictures then: those of any network settle what they are drawn from."""
    one = open_checkpoint(straight.path("checkpoint"), "imagen")
    config = override(with_models(straight.config, one), ["stages.base.plan.images=0"])
    run = ImagenRun(tmp_path, config, "cpu", progress=False, init=one)
    train(run, ["pictures"])
    assert not run.path("pictures").exists()
    with pytest.raises(UsageError, match=rf"was started with {change.partition('=')[0]}=.*, not "):
        replace(run, config=override(config, [change])).enter()


def test_a_network_may_have_grown_since_its_checkpoint(straight: ImagenRun, tmp_path: Path) -> None:
    one = open_checkpoint(straight.path("checkpoint"), "imagen")
    none = ["stages.upsampler.plan.images=0", "stages.base.plan.images=8"]
    grown = override(with_models(straight.config, one), [*none, "stages.base.unet.refiner_layers=1"])
    run = ImagenRun(tmp_path / "grown", grown, "cpu", progress=False, init=one)
    assert train(run, ["pictures", "texts", "base"]).finished
    wider = override(with_models(straight.config, one), [*none, "stages.base.unet.context=64"])
    with pytest.raises(CheckpointError, match="another model"):
        train(ImagenRun(tmp_path / "wider", wider, "cpu", progress=False, init=one), ["pictures", "texts", "base"])


def test_a_reader_from_scratch_may_take_the_place_of_a_frozen_one(
    straight: ImagenRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = open_checkpoint(straight.path("checkpoint"), "imagen")
    changes = ["stages.upsampler.plan.images=0", "stages.base.plan.images=8"]
    config = read_by(override(with_models(straight.config, one), changes), "learned")
    small = TextTransformerConfig(vocab=512, tokens=12, width=32, layers=1, heads=2)
    config = read_by(replace(config, text=replace(config.text, learned=small)), "learned")
    assert config.text.learned == small and config.stages[0].unet.text == 32
    ImagenRun(tmp_path, config, "cpu", init=one).enter()
    assert "upsampler stays as it was trained on another text encoder than base trains" in capsys.readouterr().err
    run = ImagenRun(tmp_path, config, "cpu", progress=False, init=one)
    assert train(run).finished == run.stages
    shipped, trained = load(run.path("checkpoint"), device="cpu"), run.reader("upsampler").encode(["a red square"])
    assert shipped.reader is not None
    said = shipped.reader.encode(["a red square"]).sequence
    assert torch.allclose(said, trained.sequence, atol=0.02 * trained.sequence.abs().max().item())
    again = open_checkpoint(run.path("checkpoint"), "imagen")
    further = ImagenRun(tmp_path / "further", with_models(config, again), "cpu", progress=False, init=again)
    train(further, ["pictures", "tokenizer"])
    words = "words.json"  # of the checkpoint's own reader, which goes on too
    assert (further.path("tokenizer") / words).read_bytes() == (run.path("tokenizer") / words).read_bytes()


def test_runs_that_would_train_nothing_or_ship_the_untrained_are_refused(straight: ImagenRun, tmp_path: Path) -> None:
    one = open_checkpoint(straight.path("checkpoint"), "imagen")
    idle = override(straight.config, ["stages.base.plan.images=0", "stages.upsampler.plan.images=0"])
    with pytest.raises(UsageError, match=r"no network has pictures to learn from: set stages\.base\.plan\.images"):
        train(ImagenRun(tmp_path, idle, "cpu", progress=False, init=one))
    half = override(straight.config, ["stages.upsampler.plan.images=0"])
    with pytest.raises(
        UsageError, match=r"stages\.upsampler\.plan\.images=0 keeps what a checkpoint brought: name one"
    ):
        train(ImagenRun(tmp_path, half, "cpu", progress=False))
    base = replace(one, parts={"base": one.parts["base"]})
    with pytest.raises(UsageError, match=r"upsampler\.plan\.images=0 keeps .*, and .* has no upsampler: set it"):
        train(ImagenRun(tmp_path, half, "cpu", progress=False, init=base))
    learned = override(read_by(straight.config, "learned"), ["stages.base.plan.images=0"])
    with pytest.raises(UsageError, match=r"base\.plan\.images=0 keeps .*, and .* has no text: set it, to train"):
        ImagenRun(tmp_path, learned, "cpu", progress=False, init=one).enter()
    assert not any(tmp_path.iterdir())
    third = replace(one, parts={**one.parts, "second_upsampler": one.parts["upsampler"]})
    with pytest.raises(UsageError, match="has a second_upsampler, which this preset has no plan for"):
        with_models(straight.config, third)


def test_a_checkpoint_refuses_another_reader(straight: ImagenRun, folder: Path) -> None:
    save_tiny(folder / "reader", "bert", hidden_act="relu")
    try:
        with pytest.raises(CheckpointError, match="another text encoder"):
            load(straight.path("checkpoint"), device="cpu")
    finally:
        save_tiny(folder / "reader", "bert")


def test_a_learned_reader_is_trained_with_the_base_and_shipped_with_it(straight: ImagenRun, tmp_path: Path) -> None:
    learned = TextTransformerConfig(vocab=512, tokens=12, width=32, layers=1, heads=2)
    config = replace(straight.config, text=TextEncoderConfig("learned", learned, length=12))
    run = ImagenRun(tmp_path, config, "cpu", progress=False)
    assert train(run).finished == run.stages
    fresh = run.reader("base").encode(["a red square"]).sequence
    trained = run.reader("upsampler").encode(["a red square"]).sequence
    assert not torch.equal(fresh, trained)
    before = [load_file(run.path("base") / FILE)[f"weights/text/{name}"] for name in ("tokens",)]
    assert before[0].std() > 0
    found = load(run.path("checkpoint"), device="cpu")
    assert isinstance(found, ImagenPainter) and found.unknown_words("a red zebra") == ["zebra"]
    one, other = found.paint("a red square", candidates=2)
    assert {one.candidate, other.candidate} == {0, 1} and not np.array_equal(one.picture, other.picture)
    said = found.reader.encode(["a red square"]).sequence
    assert torch.allclose(said, trained, atol=0.02 * trained.abs().max().item())  # stored in bfloat16
    longer = override(config, [f"stages.base.plan.images={config.stage('base').plan.images + 8}"])
    with pytest.raises(UsageError, match="upsampler has learned from the text encoder as base has trained it: leave"):
        ImagenRun(tmp_path, longer, "cpu", progress=False).enter()
    shutil.rmtree(run.path("upsampler"))
    ImagenRun(tmp_path, longer, "cpu", progress=False).enter()


def test_captions_in_other_scripts_are_left_out_where_asked() -> None:
    both = ("a café in Zürich", "三个绿色的三角形")
    assert captions_in(both, "latin") == ["a café in Zürich"] and captions_in(both, "all") == both
    assert captions_in(both[1:], "latin") == both[1:]
    signs = ["the dog’s “OPEN” sign – and a sun ☀…", "chó đẹp quá"]
    assert captions_in([*signs, "кот", "γάτα"], "latin") == signs, "letters tell a script, signs do not"


def test_networks_follow_the_text_encoder_they_are_given(config: ImagenConfig) -> None:
    """The width, and heads that divide it where the preset's six do not."""
    found = read_by(preset("tiny"), config.text.encoder)
    for stage in found.stages:
        assert (stage.unet.text, stage.unet.pool_heads) == (32, 8)
    assert found.text.encoder == config.text.encoder
    assert read_by(found, config.text.encoder) is found
