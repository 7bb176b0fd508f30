"""Samplers on data whose denoiser is known: where they must end, how fast they get there, and what they may not do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.diffusion import even_sigmas, karras_sigmas
from pinxit.functional.samplers import (
    FROM_NOISE,
    SAMPLERS,
    Denoised,
    ancestral,
    ddim,
    ddim_inversion,
    dpm_2m,
    dpm_2m_sde,
    drive,
    edm,
    euler,
    heun,
)
from tests.functional.helpers import Start, source

MEAN, VARIANCE = 0.3, 0.25  # of the data


def gaussian(x: Tensor, sigma: float, variance: float = VARIANCE) -> Denoised:
    """What is known of x0 ~ N(MEAN, variance) given x = x0 + sigma n."""
    return Denoised(MEAN + variance / (variance + sigma**2) * (x - MEAN))


def two_points(x: Tensor, sigma: float) -> Denoised:
    """The same for a mixture of N(-1, 0.04) and N(1, 0.04): not a straight line in x."""
    total = 0.04 + sigma**2
    return Denoised((0.04 * x + sigma**2 * (x / total).tanh()) / total)


def silent() -> Tensor:
    raise AssertionError("a deterministic sampler drew noise")


def geometric(steps: int, first: float = 20.0, last: float = 0.05) -> list[float]:
    return [first * (last / first) ** (i / steps) for i in range(steps + 1)]


def flow(x: Tensor, first: float, last: float) -> Tensor:
    """The exact solution of the probability-flow equation for the Gaussian."""
    return MEAN + (x - MEAN) * math.sqrt((VARIANCE + last**2) / (VARIANCE + first**2))


def column(count: int = 5, scale: float = 20.0) -> Tensor:
    return torch.linspace(-1, 1, count, dtype=torch.float64)[:, None, None, None] * scale


def spread_of(
    start: Start, sigmas: Sequence[float], denoise: Callable[[Tensor, float], Denoised], data: float = 0.0
) -> float:
    """The exact variance of what a sampler makes of noise, for a denoiser that is a straight line in x.

    The result is then one as well: of the first noise and of each one drawn. Row r is fed 1 as the r-th of them and 0
    as the others, so row by row it gives their weights. The first noise has the variance of `data` beside its own.
    """
    rows = 3 * len(sigmas)
    unit = torch.eye(rows, dtype=torch.float64)[:, :, None, None, None]
    drawn = iter(range(1, rows))
    first = MEAN + math.sqrt(sigmas[0] ** 2 + data) * unit[0]
    weights = drive(start(first, sigmas, lambda: unit[next(drawn)]), denoise) - MEAN
    return weights.square().sum().item()


@pytest.mark.parametrize(("start", "order"), [(euler, 1), (ddim, 1), (heun, 2), (dpm_2m, 2)])
def test_order_of_convergence(start: Start, order: int) -> None:
    errors = []
    for steps in (80, 160, 320):
        sigmas = geometric(steps)
        found = drive(start(column(), sigmas, silent), gaussian)
        errors.append((found - flow(column(), sigmas[0], sigmas[-1])).abs().max().item())
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)
    assert errors[-1] < (0.02, 2e-4)[order - 1]


@pytest.mark.parametrize("start", [euler, ddim, heun, dpm_2m])
def test_down_to_nothing_by_edms_steps(start: Start) -> None:
    found = drive(start(column(scale=80.0), karras_sigmas(200), silent), gaussian)
    torch.testing.assert_close(found, flow(column(scale=80.0), 80.0, 0.0), atol=0.02, rtol=0.0)


@pytest.mark.parametrize(
    ("start", "order"),
    [
        (ancestral, 1),
        (lambda x, s, n: ancestral(x, s, n, gamma=1.0), 1),
        (lambda x, s, n: ancestral(x, s, n, gamma=0.3), 1),
        (lambda x, s, n: ddim(x, s, n, eta=1.0), 1),
        (lambda x, s, n: ddim(x, s, n, eta=0.5), 1),
        (lambda x, s, n: edm(x, s, n, churn=20.0, s_noise=1.0), 2),
        (dpm_2m_sde, 2),
        (lambda x, s, n: dpm_2m_sde(x, s, n, eta=0.5), 2),
    ],
)
def test_stochastic_samplers_reach_the_variance_at_their_order(start: Start, order: int) -> None:
    """From the data's own marginal at the first sigma: pure noise would leave an error that no step makes smaller."""
    errors = []
    for steps in (64, 128, 256):
        sigmas = geometric(steps)
        errors.append(abs(spread_of(start, sigmas, gaussian, VARIANCE) / (VARIANCE + sigmas[-1] ** 2) - 1))
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)
    assert errors[-1] < (0.03, 1e-3)[order - 1]


@pytest.mark.parametrize("steps", [2, 3, 10])
def test_ancestral_is_exact_at_any_step_where_the_variance_is_right(steps: int) -> None:
    """Unit data: beta's variance. Almost one point: the posterior's. Between: a learned fraction can say it."""
    sigmas = geometric(steps, last=0.5)

    def unit(x: Tensor, sigma: float) -> Denoised:
        return gaussian(x, sigma, 1.0)

    def point(x: Tensor, sigma: float) -> Denoised:
        return gaussian(x, sigma, 1e-8)

    def learned(x: Tensor, sigma: float) -> Denoised:
        following = sigmas[sigmas.index(sigma) + 1]
        low = math.log(following**2 / sigma**2)
        high, expected = (
            math.log((data + following**2) / (data + sigma**2)) for data in (1.0, VARIANCE)
        )  # all over sigma^2 - following^2
        share = (expected - low) / (high - low)
        return Denoised(gaussian(x, sigma).x0, torch.full_like(x, 2 * share - 1))

    first = sigmas[0] ** 2 / (1 + sigmas[0] ** 2)  # pure noise is not the data's marginal at the first sigma
    found = spread_of(lambda x, s, n: ancestral(x, s, n, gamma=1.0), sigmas, unit)
    assert found == pytest.approx(1 + 0.25, rel=1 - first)
    assert spread_of(ancestral, sigmas, point) == pytest.approx(0.25, rel=1e-6)
    assert spread_of(ancestral, sigmas, learned) == pytest.approx(VARIANCE + 0.25, rel=1 - first)


@pytest.mark.parametrize("name", FROM_NOISE)
def test_many_pictures_have_the_mean_and_variance_of_the_data(name: str) -> None:
    noise = source(5, 20_000, 1, 1, 1)
    sigmas = even_sigmas("cosine", 200)
    found = drive(SAMPLERS[name].run(sigmas[0] * noise(), sigmas, noise), gaussian)
    assert found.mean().item() == pytest.approx(MEAN, abs=4 * math.sqrt(VARIANCE / 20_000))
    assert found.var().item() == pytest.approx(VARIANCE, rel=0.05)


@pytest.mark.parametrize("name", FROM_NOISE)
def test_both_modes_are_drawn_as_often_and_as_sharp(name: str) -> None:
    noise = source(6, 10_000, 1, 1, 1)
    sigmas = even_sigmas("cosine", 100)
    found = drive(SAMPLERS[name].run(sigmas[0] * noise(), sigmas, noise), two_points)
    assert (found > 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (found.abs() - 1).square().mean().sqrt().item() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("last", [0.0, 0.001])
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_table_tells_the_cost_and_whether_noise_is_drawn(name: str, last: float) -> None:
    method, asked, drawn = SAMPLERS[name], [0], [0]
    sigmas = [*karras_sigmas(7)[:-1], last]
    options = {"refine": 3} if "refine" in method.options else {}

    def noise() -> Tensor:
        drawn[0] += 1
        return torch.zeros(1, 1, 1, 1)

    def denoise(x: Tensor, sigma: float) -> Denoised:
        asked[0] += 1
        return gaussian(x, sigma)

    drive(method.run(torch.ones(1, 1, 1, 1), sigmas[::-1] if method.ascends else sigmas, noise, **options), denoise)
    assert asked[0] == method.evaluations(7, last == 0, options)
    assert (drawn[0] > 0) == method.random


@pytest.mark.parametrize("name", FROM_NOISE)
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_the_last_step_gives_the_predicted_picture_to_the_bit(name: str, steps: int) -> None:
    told: list[Tensor] = []

    def denoise(x: Tensor, sigma: float) -> Denoised:
        told.append(two_points(x, sigma).x0)
        return Denoised(told[-1])

    noise, sigmas = source(1, 2, 3, 4, 4), even_sigmas("cosine", steps)
    assert torch.equal(drive(SAMPLERS[name].run(sigmas[0] * noise(), sigmas, noise), denoise), told[-1])


@pytest.mark.parametrize("name", FROM_NOISE)
def test_float32_from_almost_no_signal(name: str) -> None:
    """The first sigma is 22,026; what 32 bits make of it equals what 64 bits do."""
    sigmas = even_sigmas("cosine", 25)

    def run(dtype: torch.dtype) -> Tensor:
        generator = torch.Generator().manual_seed(2)

        def noise() -> Tensor:
            return torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64).to(dtype)

        return drive(SAMPLERS[name].run(sigmas[0] * noise(), sigmas, noise), gaussian)

    torch.testing.assert_close(run(torch.float32), run(torch.float64).float(), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("name", FROM_NOISE)
def test_a_slot_alone_equals_its_row_of_a_batch(name: str) -> None:
    sigmas = karras_sigmas(6)
    draws = torch.randn(20, 3, 1, 2, 2, generator=torch.Generator().manual_seed(3))

    def run(rows: slice | int) -> Tensor:
        left = iter(draws[:, rows])
        return drive(SAMPLERS[name].run(sigmas[0] * next(left), sigmas, lambda: next(left)), two_points)

    torch.testing.assert_close(run(slice(None))[1], run(1), atol=0.0, rtol=0.0)


def test_samplers_are_one_another_where_they_should_be() -> None:
    sigmas = karras_sigmas(8)
    draws = torch.randn(20, 2, 1, 2, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def run(start: Start) -> Tensor:
        left = iter(draws)
        return drive(start(sigmas[0] * next(left), sigmas, lambda: next(left)), two_points)

    def with_fraction(x: Tensor, sigma: float) -> Denoised:
        return Denoised(two_points(x, sigma).x0, torch.full_like(x, -0.4))

    torch.testing.assert_close(run(ddim), run(euler))
    torch.testing.assert_close(run(lambda x, s, n: ddim(x, s, n, eta=1.0)), run(ancestral))
    torch.testing.assert_close(run(lambda x, s, n: dpm_2m_sde(x, s, n, eta=0.0)), run(dpm_2m))
    torch.testing.assert_close(run(lambda x, s, n: edm(x, s, n, churn=0.0)), run(heun))
    torch.testing.assert_close(run(lambda x, s, n: edm(x, s, n, s_min=90.0, s_max=99.0)), run(heun))
    left = iter(draws)  # a fraction that is everywhere the same is an interpolation of variances
    learned = drive(ancestral(sigmas[0] * next(left), sigmas, lambda: next(left)), with_fraction)
    torch.testing.assert_close(learned, run(lambda x, s, n: ancestral(x, s, n, gamma=0.3)))


def test_one_step_of_edm_by_hand() -> None:
    """Algorithm 2 with churn 1 over 2 steps: gamma min(1/2, sqrt 2 - 1), sigma 2 raised before the step to 1."""
    raised = 2 * math.sqrt(2)
    x = 3 + 1.003 * math.sqrt(raised**2 - 4) * 0.5
    slope = (x - (MEAN + 0.25 / (0.25 + raised**2) * (x - MEAN))) / raised
    ahead = x + (1 - raised) * slope
    slope_there = ahead - (MEAN + 0.25 / 1.25 * (ahead - MEAN))
    expected = x + (1 - raised) * (slope + slope_there) / 2
    at, half = torch.full((1, 1, 1), 3.0), torch.full((1, 1, 1), 0.5)
    sampler = edm(at, [2.0, 1.0, 0.0], lambda: half, churn=1.0, s_min=1.5)
    told = next(sampler)
    assert told.sigma == pytest.approx(raised)
    told = sampler.send(gaussian(told.x, told.sigma))
    told = sampler.send(gaussian(told.x, told.sigma))
    assert told.sigma == 1  # below s_min: not raised
    assert told.x.item() == pytest.approx(expected, rel=1e-6)


def test_inversion_comes_back() -> None:
    """Finer steps come back closer; a few solving evaluations a step come back altogether, even in coarse ones."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(3, 1, 4, 4, generator=generator, dtype=torch.float64)
    picture = noise.sign() * (1 + 0.2 * noise.roll(1))

    def missed(steps: int, refine: int = 0) -> float:
        down = geometric(steps, first=50.0, last=0.02)
        noise = drive(ddim_inversion(picture, down[::-1], silent, refine), two_points)
        assert noise.std().item() == pytest.approx(50, rel=0.5)
        return (drive(ddim(noise, down, silent), two_points) - picture).abs().max().item()

    coarse, fine = missed(100), missed(400)
    assert fine < 0.05
    assert math.log2(coarse / fine) == pytest.approx(2, abs=0.6)
    assert missed(12, refine=200) < 1e-6


def test_inversion_begins_at_the_picture_itself() -> None:
    """A ladder that ends with 0 is climbed from 0, where nothing can be asked: its first question is one rung up."""
    picture = torch.full((1, 1, 2, 2), 0.9, dtype=torch.float64)
    sampler = ddim_inversion(picture, [0.0, 0.5, 3.0], silent)
    asked = next(sampler)
    assert asked.sigma == 0.5
    assert torch.equal(asked.x, picture)
    asked = sampler.send(two_points(asked.x, asked.sigma))
    assert asked.sigma == 0.5
    down = [*karras_sigmas(300)]
    noise = drive(ddim_inversion(picture, down[::-1], silent, refine=1), gaussian)
    torch.testing.assert_close(drive(ddim(noise, down, silent), gaussian), picture, atol=1e-3, rtol=0.0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_option_of_the_table_has_an_effect(name: str) -> None:
    """At its least and its most it is taken; where it changes nothing, the table has an option too many."""
    method, down = SAMPLERS[name], karras_sigmas(8)
    sigmas = down[::-1] if method.ascends else down

    def run(**options: float) -> Tensor:
        method.check(sigmas, options)
        start = torch.full((1, 1, 2, 2), 0.5 if method.ascends else 40.0, dtype=torch.float64)
        noise = source(3, 1, 1, 2, 2)
        return drive(method.run(start, sigmas, lambda: noise().double(), **options), two_points)

    usual = {"churn": 2.0, "s_min": 1.0, "s_max": 1.0, "s_noise": 2.0, "refine": 2}
    for option, (_, most) in method.options.items():
        changed = usual.get(option, 0.5 * most)
        assert not torch.equal(run(**{option: changed}), run()), option


@pytest.mark.parametrize(
    ("name", "sigmas", "options", "told"),
    [
        ("ddim", [0.0, 1.0], {}, "must descend"),
        ("ddim", [1.0, 0.0], {"churn": 1.0}, "no option 'churn'; it has eta"),
        ("euler", [1.0, 0.0], {"eta": 1.0}, "no option 'eta'; it has none"),
        ("ddim", [1.0, 0.0], {"eta": 1.5}, "eta must be a number from 0 to 1, not 1.5"),
        ("ddim", [1.0, 0.0], {"eta": math.nan}, "not nan"),
        ("ddim-inversion", [1.0, 0.0], {}, "must ascend"),
        ("ddim-inversion", [0.0, math.inf], {}, "must ascend"),
        ("ddim-inversion", [0.0, 1.0], {"refine": 1.5}, "a whole number from 0"),
    ],
)
def test_what_a_method_cannot_do_is_refused(
    name: str, sigmas: list[float], options: dict[str, float], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        SAMPLERS[name].check(sigmas, options)


@pytest.mark.parametrize("sigmas", [[1.0], [1.0, 1.0], [1.0, 2.0, 0.0], [1.0, -0.1]])
def test_sigmas_must_descend(sigmas: list[float]) -> None:
    with pytest.raises(AssertionError, match="sigmas"):
        drive(euler(torch.zeros(1, 1, 1), sigmas, silent), gaussian)


def test_edm_is_the_papers_imagenet_setting_where_nothing_is_said() -> None:
    """Table 5: 256 steps, churn 40, from 0.05 to 50, noise 1.003."""
    sigmas = karras_sigmas(256)
    x = 80.0 * torch.linspace(-1, 1, 3, dtype=torch.float64)[:, None, None]

    def run(**options: float) -> Tensor:
        noise = source(8, 3, 1, 1)
        return drive(edm(x, sigmas, lambda: noise().double(), **options), gaussian)

    usual = {"churn": 40.0, "s_min": 0.05, "s_max": 50.0, "s_noise": 1.003}
    assert torch.equal(run(), run(**usual))
    for name, value in usual.items():
        assert not torch.equal(run(), run(**(usual | {name: 2 * value}))), name


def test_what_a_method_can_do_at_most() -> None:
    for method in SAMPLERS.values():
        sigmas = [0.5, 1.0] if method.ascends else [1.0, 0.5]
        for option, (least, most) in method.options.items():
            whole = option in method.whole
            for value in (least, most):
                method.check(sigmas, {option: int(value) if whole else value})
            refused: list[Any] = [-1, True, "1"]
            for wrong in refused:
                with pytest.raises(UsageError, match=f"the sampler's {option} must be a"):
                    method.check(sigmas, {option: wrong})
        with pytest.raises(UsageError, match="at least one step"):
            method.check([1.0], {})
    with pytest.raises(UsageError, match="refine must be a whole number from 0 to 1000, not 1001"):
        SAMPLERS["ddim-inversion"].check([0.5, 1.0], {"refine": 1001})
    assert {name for name, method in SAMPLERS.items() if method.per_step == 2} == {"heun", "edm"}
