"""The small parts that all diffusion recipes share, by hand: noising of what is enlarged, losses, settings, steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.guidance import Thresholding
from pinxit.functional.samplers import Denoised
from pinxit.models.unet import UNetConfig
from pinxit.recipes.diffusion import inputs
from pinxit.recipes.diffusion.conditions import Noising, noising_of
from pinxit.recipes.diffusion.config import SamplingConfig, Stage, StageConfig
from pinxit.recipes.diffusion.denoiser import SwitchingDenoiser, UNetDenoiser, split_variance
from pinxit.recipes.diffusion.inputs import corrupted, cropped, signed
from pinxit.recipes.diffusion.losses import halves, weights
from pinxit.recipes.diffusion.painter import levels
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.training.plan import Plan

SMALL = UNetConfig(channels=(16, 16), blocks=(1, 1), attention=(False, False), middle=False)
BASE = StageConfig(16, SMALL)
UPSAMPLER = StageConfig(32, replace(SMALL, low_res=3, augmentation=True), low=16, max_augmentation=0.4)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_discrete_noising_takes_the_nearest_step() -> None:
    """And the last one for a level of 1; even level 0 has the noise of step 0, as in DeepFloyd IF."""
    about = Noising(DiffusionConfig(steps=100), align_corners=True)
    small, noise = draws(5, 3, 4, 4), draws(5, 3, 8, 8, seed=1)
    told = about(small, torch.tensor([0.0, 0.5, 0.994, 0.996, 1.0]), noise)
    assert told["augmentation"].tolist() == [0, 50, 99, 99, 99] and told["augmentation"].dtype == torch.float32
    large = torch.nn.functional.interpolate(small, (8, 8), mode="bilinear", align_corners=True)
    abar = about.schedule.table.abar[[0, 50, 99, 99, 99]].float()[:, None, None, None]
    torch.testing.assert_close(told["low_res"], abar.sqrt() * large + (1 - abar).sqrt() * noise)
    torch.testing.assert_close(about.plain(small, 8)["low_res"], large)


def test_a_continuous_noising_tells_a_thousand_times_the_level() -> None:
    small, noise = draws(2, 3, 4, 4), draws(2, 3, 8, 8, seed=1)
    told = Noising()(small, torch.tensor([0.3, 1e-6]), noise)
    torch.testing.assert_close(told["augmentation"], torch.tensor([300.0, 1e-3]))
    large = Noising().plain(small, 8)["low_res"]
    angle = (0.3 + 0.008) / 1.008 * math.pi / 2
    torch.testing.assert_close(told["low_res"][0], math.cos(angle) * large[0] + math.sin(angle) * noise[0])
    assert not torch.equal(told["low_res"][1], large[1]), "only a level of nothing adds nothing"
    smooth = Noising(way="bicubic").plain(small, 8)["low_res"]
    expected = torch.nn.functional.interpolate(small, (8, 8), mode="bicubic", antialias=True)
    torch.testing.assert_close(smooth, expected)


def test_a_stage_noises_as_it_says() -> None:
    discrete = noising_of(replace(UPSAMPLER, noised=200))
    assert discrete.schedule.steps == 200 and discrete.align_corners
    assert noising_of(UPSAMPLER) == Noising() and not noising_of(UPSAMPLER).schedule.steps


def test_what_a_stage_knows_of_itself() -> None:
    assert (BASE.scale, BASE.train_size, UPSAMPLER.scale) == (1, 16, 2)
    assert replace(UPSAMPLER, crop=24).train_size == 24
    told = {"low_res": draws(1), "sequence": draws(1), "augmentation": draws(1)}
    assert UPSAMPLER.accepted(told).keys() == {"low_res", "augmentation"} and BASE.accepted(told) == {}
    UPSAMPLER.check_augmentation(0.4)
    with pytest.raises(UsageError, match=r"augmentation=0\.41 is more noise than .* take at most 0\.4"):
        UPSAMPLER.check_augmentation(0.41)
    blurred = replace(UPSAMPLER, corrupt="blur", unet=replace(UPSAMPLER.unet, augmentation=False))
    blurred.check_augmentation(1.0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"low": 0}, "a base .low=0. cannot have unet.low_res=3"),
        ({"crop": 34}, "crop=34 must be at most size=32"),
        ({"crop": 15}, "crop=15 must be at most size=32 and a multiple of size / low"),
        ({"noised": 100, "crop": 16}, "noised=100 is of an upsampler's whole pictures"),
        ({"noised": 100, "corrupt": "blur"}, "noised=100 is of an upsampler's whole pictures"),
        ({"size": 48, "low": 32}, "size=48 must be a multiple of low=32"),
        ({"low": 32}, "size=32 must be a multiple of low=32, and more than it"),
        ({"corrupt": "bsr", "crop": 24}, "a side that is a multiple of 16"),
        ({"max_augmentation": 1.1}, "max_augmentation must be from 0 to 1"),
    ],
)
def test_an_upsampler_that_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        replace(UPSAMPLER, **changes)


def test_what_is_degraded_has_the_range_that_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """BSR takes values from 0 to 1, one picture at a time with its own draws."""
    seen: list[tuple[float, float, object]] = []

    def degraded(x: Tensor, generator: object) -> Tensor:
        seen.append((float(x.min()), float(x.max()), generator))
        return x

    monkeypatch.setattr(inputs, "degraded", degraded)
    small = torch.linspace(-1, 1, 3 * 2 * 2).view(1, 3, 2, 2).repeat(2, 1, 1, 1)
    streams: Any = SimpleNamespace(generators=["a", "b"])
    torch.testing.assert_close(corrupted(small, "bsr", streams), small)
    assert seen == [(0.0, 1.0, "a"), (0.0, 1.0, "b")]


def test_a_base_is_noised_and_corrupted_by_nothing() -> None:
    with pytest.raises(UsageError, match="noised=10"):
        replace(BASE, noised=10)
    with pytest.raises(UsageError, match="size=15"):
        replace(BASE, size=15)
    with pytest.raises(UsageError, match="corrupt=blur"):  # but a checkpoint that was trained so opens
        Stage(BASE.size, BASE.unet, corrupt="blur", name="base", plan=Plan(8, 8))
    learned = DiffusionConfig(steps=10, variance="learned")
    with pytest.raises(UsageError, match=r"unet\.outputs=3 must be 6"):
        replace(BASE, diffusion=learned)
    assert replace(BASE, diffusion=learned, unet=replace(SMALL, outputs=6)).diffusion == learned


def test_settings_of_sampling_at_their_edges() -> None:
    for value in (0.0, 1.0, 1.5):
        about = SamplingConfig(max_threshold=value)
        assert about.thresholding(0.9) == Thresholding("dynamic", percentile=0.9, max_threshold=value or math.inf)
        assert about.thresholding(0.0) == Thresholding()
    for changes, told in (({"max_threshold": 0.5}, "0 or at least 1"), ({"sampler": "ddim-inversion"}, "no sampler")):
        with pytest.raises(UsageError, match=told):
            SamplingConfig(**changes)


def test_levels_are_even_or_karras_or_named() -> None:
    discrete = DiffusionConfig(steps=1000)
    named = levels(discrete, {"spacing": "fast27", "steps": 5})
    assert len(named) == 28 and named[-1] == 0 and named == tuple(discrete.spaced_sigmas("10,10,3,2,2"))
    karras = levels(DiffusionConfig(), {"grid": "karras", "steps": 3})
    assert karras[0] == pytest.approx(80) and karras[2] == pytest.approx(float(DiffusionConfig().sigma_at(0.0)))
    assert levels(DiffusionConfig(), {"steps": 3}) == tuple(DiffusionConfig().even_sigmas(3))


def test_steps_reach_the_noise_however_many_they_are() -> None:
    about = DiffusionConfig(steps=1000)
    table = about.table.sigma
    for steps in (1, 27, 101, 334, 501, 600, 999, 1000):
        found = about.even_sigmas(steps)
        assert len(found) == steps + 1 and found[-2:] == [float(table[0]), 0.0]
        assert all(a > b for a, b in pairwise(found))
        assert steps < 27 or found[0] >= float(table[899]), steps
    assert about.even_sigmas(27)[0] == float(table[26 * 37])
    about.check_steps("steps", 1000)
    DiffusionConfig().check_steps("steps", 10_000)


def test_rare_draws_of_noise_are_cut() -> None:
    about = DiffusionConfig(p_mean=-1.2, p_std=1.2)
    found = about.drawn(torch.tensor([0.0, 1e-4, 0.5, 1.0], dtype=torch.float64)).log()
    assert found[0] == found[1] and found[2].item() == pytest.approx(-1.2)
    assert found[3].item() == pytest.approx(-1.2 + 1.2 * 3.719, abs=1e-3)
    assert DiffusionConfig().time_of(torch.tensor([1.0])).item() == pytest.approx(500 - 4, abs=1e-3)


def test_losses_of_both_halves_by_hand() -> None:
    error, even = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.1, 0.5, 0.6, 0.9])
    assert {name: float(one) for name, one in halves(error, even).items()} == {"noisy": 3.5, "clean": 1.5}
    assert {name: float(one) for name, one in halves(error, even + 0.5).items()} == {"noisy": 5.0, "clean": 0.0}
    sigma = torch.tensor([1.0, 2.0, 1e-3], dtype=torch.float64)
    assert weights(DiffusionConfig("x0"), sigma) is None
    found = weights(DiffusionConfig("x0", weight="v"), sigma)
    assert found is not None and found.tolist() == pytest.approx([2.0, 1.25, 400.0])
    assert signed(torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)).flatten().tolist() == pytest.approx(
        [-1, 1, -0.6]
    )


class Says:
    """A network that answers a constant, and notes the time that it is told."""

    def __init__(self, answer: float, channels: int = 3) -> None:
        self.answer, self.channels = answer, channels
        self.times: list[float] = []

    def __call__(self, z: Tensor, time: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        self.times += time.tolist()
        return torch.full((len(z), self.channels, *z.shape[2:]), self.answer, dtype=torch.bfloat16)


def denoiser(answer: float, config: DiffusionConfig, channels: int = 3) -> UNetDenoiser:
    return UNetDenoiser(Says(answer, channels), config, 4, torch.device("cpu"))  # type: ignore[arg-type]


def heard(one: UNetDenoiser) -> int:
    """How many rows its network was asked."""
    network: Any = one.unet
    return len(network.times)


@pytest.mark.parametrize(("kind", "expected"), [("x0", 0.5), ("eps", 2 - 0.75 * 0.5), ("v", 0.8 * 1.6 - 0.6 * 0.5)])
def test_a_denoiser_tells_the_picture_whatever_its_network_predicts(kind: Any, expected: float) -> None:
    """x = 2 at sigma 3/4: alpha 0.8, std 0.6, z = 1.6."""
    asked = denoiser(0.5, DiffusionConfig(kind))
    found = asked(torch.full((2, 3, 4, 4), 2.0), torch.full((2,), 0.75), {})
    assert found.fraction is None and found.x0.dtype == torch.float32
    torch.testing.assert_close(found.x0, torch.full((2, 3, 4, 4), expected))


def test_a_learned_variance_is_the_second_half_of_the_channels() -> None:
    answer = torch.arange(6.0).view(1, 6, 1, 1)
    learned = DiffusionConfig(steps=10, variance="learned")
    prediction, fraction = split_variance(answer, learned)
    assert fraction is not None and (prediction.flatten().tolist(), fraction.flatten().tolist()) == (
        [0, 1, 2],
        [3, 4, 5],
    )
    assert (
        split_variance(answer, DiffusionConfig())[1] is None and split_variance(answer, DiffusionConfig())[0] is answer
    )


def test_two_networks_share_a_trajectory() -> None:
    learned = DiffusionConfig(steps=10, variance="learned")
    x, sigma = torch.ones(3, 3, 4, 4), torch.tensor([2.0, 1.0, 0.5])
    first, last = (denoiser(answer, DiffusionConfig("x0")) for answer in (0.25, 0.75))
    both = SwitchingDenoiser(first, last, 1.0)
    assert both(x, sigma, {}).x0[:, 0, 0, 0].tolist() == [0.25, 0.25, 0.75]
    for rows, told in ((slice(0, 2), (first, last)), (slice(2, 3), (last, first))):
        before = [heard(one) for one in told]
        both(x[rows], sigma[rows], {})
        after = [heard(one) for one in told]
        assert after[0] > before[0] and after[1] == before[1], "only the network that is needed computes"
    first, last = (denoiser(answer, learned, 6) for answer in (-0.5, 0.5))
    found: Denoised = SwitchingDenoiser(first, last, 1.0)(x, sigma, {})
    assert found.fraction is not None and found.fraction[:, 0, 0, 0].tolist() == [-0.5, -0.5, 0.5]
    mixed = SwitchingDenoiser(first, denoiser(0.5, DiffusionConfig("x0")), 1.0)(x, sigma, {})
    assert mixed.fraction is None


def test_crops_of_whole_pictures_are_the_pictures() -> None:
    stored = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(1, 8, 8, 3).repeat(2, 0)
    assert cropped(stored, 8, 4, np.zeros((2, 2))) is stored
    found = cropped(stored, 4, 2, np.array([[0.0, 0.999], [0.5, 0.0]]))
    assert np.array_equal(found[0], stored[0, :4, 4:]) and np.array_equal(found[1], stored[1, 2:6, :4])
