"""A cascade of three: trained, written down, opened, and walked up from 16 px by 32 to 64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pinxit.api import load, load_upsampler
from pinxit.errors import CheckpointError, UsageError
from pinxit.functional.samplers import Denoised
from pinxit.recipes.capabilities import upsampler_of
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.imagen.presets import nano, read_by
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.imagen.stages import train
from pinxit.types import Ranked
from pinxit.weights.checkpoint import open_checkpoint
from tests.recipes.painters import random_painter
from tests.recipes.squares import write_squares

pytest.importorskip("transformers")
from tests.recipes.imagens import planned, save_random_imagen, tiny_config, with_a_third


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_imagen(tmp_path_factory.mktemp("imagen") / "three", third=True)


@pytest.fixture(scope="module")
def upsampler(checkpoint: Path) -> Upsampler:
    return load_upsampler(checkpoint, device="cpu")


def square(side: int, candidate: int) -> Ranked:
    pixels = np.random.default_rng(candidate).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Ranked(pixels, 5, candidate, 0.5)


@pytest.mark.parametrize("stored", [0, 1])
def test_three_networks_are_trained_and_kept(tmp_path: Path, stored: int) -> None:
    (tmp_path / "squares").mkdir()
    write_squares(tmp_path / "squares")
    told = [f"data.source={tmp_path / 'squares'}", *(f"stages.{name}.pictures=8" for name in ("base", "upsampler"))]
    config = with_a_third(tiny_config(tmp_path, *told, f"text.stored={stored}"))
    config = planned(config, images=16, batch=8, warmup=8, precision="fp32")
    run = ImagenRun(tmp_path / "run", config, "cpu", progress=False)
    assert run.stages == ("pictures", "tokenizer", "texts", "base", "upsampler", "second_upsampler", "checkpoint")
    assert train(run).finished == run.stages
    kept = open_checkpoint(run.path("checkpoint"))
    assert set(kept.provenance["stages"]) == set(config.cascade) and kept.parts.keys() >= set(config.cascade)
    card = (run.path("checkpoint") / "README.md").read_text(encoding="utf-8")
    assert "enlarges them to 32 and then 64:" in card and "3 diffusion models" in card
    painter = load(run.path("checkpoint"), device="cpu")
    upsampler = upsampler_of(painter)
    assert upsampler is not None
    large = upsampler.enlarge("a red square", painter.paint("a red square", candidates=1))
    assert large[0].picture.shape == (64, 64, 3)


def test_an_upsampler_may_be_told_no_text(tmp_path: Path) -> None:
    """Its captions are neither read nor stored, its pictures hang on none; a cascade may end with its base as well."""
    (tmp_path / "squares").mkdir()
    write_squares(tmp_path / "squares")
    told = [f"data.source={tmp_path / 'squares'}", *(f"stages.{name}.pictures=8" for name in ("base", "upsampler"))]
    silent = ["text=0", "context=0", "middle=false", "attention=[false,false]"]
    config = tiny_config(tmp_path, *told, "text.stored=1", *(f"stages.upsampler.unet.{one}" for one in silent))
    config = planned(config, images=16, batch=8, warmup=8, precision="fp32")
    run = ImagenRun(tmp_path / "run", config, "cpu", progress=False)
    assert train(run).finished == run.stages
    assert run.path("texts").exists() and not run.path("large-texts").exists()
    upsampler = load_upsampler(run.path("checkpoint"), device="cpu")
    one, other = (upsampler.enlarge(text, [square(16, 0)])[0].picture for text in ("a red square", "left: blue"))
    assert np.array_equal(one, other) and one.shape == (32, 32, 3)
    alone = replace(config, stages=config.stages[:1])
    first = ImagenRun(tmp_path / "alone", alone, "cpu", progress=False)
    assert train(first).finished == ("pictures", "tokenizer", "texts", "base", "checkpoint")
    painter = load(first.path("checkpoint"), device="cpu")
    assert upsampler_of(painter) is None and painter.paint("a red square", candidates=1)
    assert "a diffusion model draws" in (first.path("checkpoint") / "README.md").read_text(encoding="utf-8")
    with pytest.raises(CheckpointError, match="has no upsampler"):
        load_upsampler(first.path("checkpoint"), device="cpu")


def test_the_chain_is_one_step_after_the_other(upsampler: Upsampler) -> None:
    asked = [square(16, k) for k in range(3)]
    assert upsampler.before is not None and [one.size for one in upsampler.chain] == [32, 64]
    middle = upsampler.before.enlarge("a red square", asked)
    by_hand, at_once = upsampler.enlarge("a red square", middle), upsampler.enlarge("a red square", asked)
    assert [one.picture.shape for one in at_once] == [(64, 64, 3)] * 3
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(by_hand, at_once, strict=True))
    assert [(one.seed, one.candidate, one.score) for one in at_once] == [(5, k, 0.5) for k in range(3)]


def test_each_network_has_noise_of_its_own(upsampler: Upsampler) -> None:
    assert [one.stage for one in upsampler.chain] == [1, 2]


def test_pictures_of_several_sizes_go_where_they_fit(upsampler: Upsampler) -> None:
    mixed = [square(32, 0), square(16, 1), square(48, 2)]
    found = upsampler.enlarge("a red square", mixed)
    alone = [upsampler.enlarge("a red square", [one])[0] for one in mixed]
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(found, alone, strict=True))
    for side in (15, 64):
        with pytest.raises(UsageError, match=f"of at least 16 px and less than 64, not {side} x {side}"):
            upsampler.enlarge("a red square", [square(side, 0)])


def test_a_painter_of_the_middle_size_is_enlarged_from_there(upsampler: Upsampler) -> None:
    """While it paints as well as afterwards: its pictures never pass a network for smaller ones."""
    painter = random_painter()
    assert painter.size == 32 and upsampler.chain[0].low == 16
    small = painter.paint("a red square", candidates=2)
    at_once = painter.paint("a red square", candidates=2, upsampler=upsampler)
    after = upsampler.enlarge("a red square", small)
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(at_once, after, strict=True))


def test_the_way_up_is_watched_from_end_to_end(upsampler: Upsampler) -> None:
    shares: list[float] = []
    upsampler.enlarge("a red square", [square(16, 0)], lambda done: shares.append(done.share))
    assert shares == sorted(shares) and shares[-1] == 1.0 and shares[0] < 0.5


def test_how_far_up_can_be_chosen(upsampler: Upsampler) -> None:
    assert upsampler.for_size(64) is upsampler and upsampler.for_size(32) is upsampler.before
    with pytest.raises(UsageError, match="--upscale 128: this upsampler makes pictures of 32 or 64 px"):
        upsampler.for_size(128)


def test_networks_that_do_not_follow_on_each_other_are_refused() -> None:
    config = with_a_third(nano())
    with pytest.raises(UsageError, match=r"second_upsampler\.low=16 must equal upsampler\.size=32: set both"):
        config.changed("second_upsampler", low=16, crop=32)
    with pytest.raises(UsageError, match="must hold at least a base"):
        replace(config, stages=())
    for name in ("upsampler", "texts", "../base", ""):
        with pytest.raises(UsageError, match=f"'{name}' cannot name a network"):
            config.changed("second_upsampler", name=name)


def test_another_reader_is_taken_by_every_network(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    found = read_by(with_a_third(nano()), str(tmp_path / "reader"))
    assert [stage.unet.text for stage in found.stages] == [32, 32, 32]


def test_pictures_above_what_a_network_takes_are_shrunk_by_means(upsampler: Upsampler) -> None:
    large = square(48, 0)
    means = np.array(Image.fromarray(large.picture).resize((32, 32), Image.Resampling.BOX))
    by_hand, found = (upsampler.enlarge("a red square", [one])[0] for one in (replace(large, picture=means), large))
    assert np.array_equal(found.picture, by_hand.picture)


class Listens:
    """A denoiser that says nothing and keeps what it is first asked."""

    device = torch.device("cpu")

    def __init__(self, size: int) -> None:
        self.shape: tuple[int, ...] = (3, size, size)
        self.rows: list[tuple[Tensor, Tensor]] = []

    def check(self, conditions: Mapping[str, Tensor], /) -> None:
        pass

    def __call__(self, x: Tensor, sigma_R: Tensor, conditions: Mapping[str, Tensor], /) -> Denoised:
        self.rows += zip(x.clone(), conditions["low_res"].clone(), strict=True)
        return Denoised(torch.zeros_like(x))


def test_the_noise_of_what_is_enlarged_is_not_that_which_is_denoised(upsampler: Upsampler) -> None:
    first = upsampler.chain[0]
    listens = Listens(first.size)
    sampling = replace(
        first.sampling, augmentation=first.config.max_augmentation, upsampler_steps=1, upsampler_guidance=1.0
    )
    alone = Upsampler(listens, first.config, sampling, first.captions)
    gray = [replace(square(16, k), picture=np.full((16, 16, 3), 127, np.uint8)) for k in range(2)]
    alone.enlarge("a red square", gray)
    told = torch.stack([part.flatten() for rows in listens.rows[:2] for part in rows])
    alike = torch.corrcoef(told) - torch.eye(4)
    assert len(listens.rows) >= 2 and told.std(1).min() > 0.1 and alike.abs().max() < 0.1
