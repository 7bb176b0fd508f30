"""Embeddings drawn from a prior: the right distribution, the likest of several, and the same in any company."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.samplers import FROM_NOISE, SAMPLERS, Denoised
from pinxit.functional.vectors import dots, norms, unit
from pinxit.models.prior import DiffusionPrior, PriorConfig, TokenPrior, build_prior
from pinxit.models.prior_decoder import PriorDecoder
from pinxit.pipelines.coroutine import run_to_end
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.unclip.config import PriorSampling
from pinxit.recipes.unclip.denoiser import PriorDenoiser
from pinxit.recipes.unclip.prior_sampler import (
    NOISE_STAGE,
    PriorSampler,
    draw_dots,
    most_similar,
    sample_diffusion,
    sample_tokens,
    unconditional,
)
from pinxit.recipes.unclip.space import Space, SpaceConfig
from pinxit.training.draws import seeded

X0 = DiffusionConfig("x0")
CPU = torch.device("cpu")
CONFIG = PriorConfig(components=4, embed=8, text=6, length=3, width=16, layers=2, heads=2)
TOKENS = replace(CONFIG, buckets=6, dots=4)


class Gaussian:
    """What a perfect prior of N(mean, spread^2) says of a noisy sample; without a caption, of N(0, spread^2)."""

    mean, spread = torch.tensor([1.0, -0.5, 0.0]), torch.tensor([0.3, 0.8, 0.5])

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (3,)
        self.device = CPU
        self.rows: list[int] = []

    def __call__(self, x: Tensor, sigma_R: Tensor, conditions: Mapping[str, Tensor], /) -> Denoised:
        self.rows.append(len(x))
        variance = self.spread**2
        mean = self.mean * conditions["mask"].any(1)[:, None]
        return Denoised(mean + variance / (variance + sigma_R[:, None] ** 2) * (x - mean))

    def check(self, conditions: Mapping[str, Tensor], /) -> None:
        """Anything is told."""


def told(rows: int) -> dict[str, Tensor]:
    return {"mask": torch.ones(rows, 3, dtype=torch.bool)}


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm++2m", "dpm++2m-sde"])
def test_a_gaussian_is_drawn_as_it_is(sampler: str) -> None:
    about = PriorSampling(sampler=sampler, steps=60)
    rows = 4000
    found = run_to_end(sample_diffusion(Gaussian(), X0, told(rows), about, 3, 0))
    error = 5 / math.sqrt(rows)
    assert ((found.mean(0) - Gaussian.mean).abs() < error * Gaussian.spread).all()
    torch.testing.assert_close(found.std(0), Gaussian.spread, rtol=0.08, atol=0)


@pytest.mark.parametrize("sampler", FROM_NOISE)
def test_what_is_done_grows_evenly_up_to_all(sampler: str) -> None:
    about = PriorSampling(sampler=sampler, steps=6)
    asked = SAMPLERS[sampler].evaluations(6)
    shares = list(sample_diffusion(Gaussian(), X0, told(2), about, 3, 0))
    assert shares == [pytest.approx(done / asked) for done in range(1, asked)], "and then the last one ends it"


def test_what_is_done_grows_with_every_component() -> None:
    prior, about = talking(TOKENS), PriorSampling(tries=2)
    assert isinstance(prior, TokenPrior)
    rows = {name: tensor.expand(2, *tensor.shape) for name, tensor in caption().items()}
    with torch.no_grad():
        assert list(sample_tokens(prior, space(), rows, about, 0, 0)) == [0, 0.25, 0.5, 0.75]


def test_guidance_moves_the_mean_and_1_is_none() -> None:
    """Of Gaussians that differ in the mean alone, guidance g draws N(g mean, spread^2)."""
    about, rows = PriorSampling(sampler="dpm++2m", steps=60), 2000
    plain, guided = Gaussian(), Gaussian()
    without = run_to_end(sample_diffusion(plain, X0, told(rows), about, 0, 0))
    twice = run_to_end(sample_diffusion(guided, X0, told(rows), replace(about, guidance=2.0), 0, 0))
    assert set(plain.rows) == {rows} and set(guided.rows) == {2 * rows}
    torch.testing.assert_close(twice - without, Gaussian.mean.expand(rows, 3), atol=0.02, rtol=0)
    near = run_to_end(sample_diffusion(Gaussian(), X0, told(rows), replace(about, guidance=1 + 1e-6), 0, 0))
    torch.testing.assert_close(near, without, atol=1e-4, rtol=0)


def test_predictions_are_clipped() -> None:
    found = run_to_end(sample_diffusion(Gaussian(), X0, told(50), PriorSampling(steps=8, limit=0.4), 0, 0))
    assert found.abs().max() <= 0.4 and (found[:, 0] == 0.4).any()


def test_without_a_caption_what_is_told_instead_is_heard() -> None:
    """Karlo knows no empty mask: guidance leads away from an empty caption like any other."""
    prior, about = talking(CONFIG), PriorSampling(sampler="ddim", steps=3, guidance=0.0)
    assert isinstance(prior, DiffusionPrior)
    rows = {name: tensor.expand(2, *tensor.shape) for name, tensor in caption().items()}
    other = {name: -tensor if tensor.is_floating_point() else tensor for name, tensor in caption().items()}
    nothing = unconditional(rows, other)
    assert all(torch.equal(nothing[name][1], other[name]) for name in rows)
    denoiser = PriorDenoiser(prior, X0, CPU)
    with torch.no_grad():
        found = run_to_end(sample_diffusion(denoiser, X0, rows, about, 0, 0, nothing))
        wanted = run_to_end(sample_diffusion(denoiser, X0, nothing, replace(about, guidance=1.0), 0, 0))
    torch.testing.assert_close(found, wanted)


def talking(config: PriorConfig) -> DiffusionPrior | TokenPrior:
    def build() -> DiffusionPrior | TokenPrior:
        net = build_prior(config)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        return net

    return seeded(build, 0, "prior").eval()


def space() -> Space:
    draw = torch.Generator().manual_seed(0)
    z = unit(torch.randn(8, generator=draw) + 0.5 * torch.randn(300, 8, generator=draw))
    return Space.fit(SpaceConfig(embed=8, components=4, buckets=6, dots=4), z, dots(z, z.roll(1, 0)))


def caption() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    pooled = unit(torch.randn(1, 8, generator=draw))[0]
    return {"sequence": torch.randn(3, 6, generator=draw), "mask": torch.tensor([True, True, False]), "pooled": pooled}


@pytest.mark.parametrize("config", [CONFIG, TOKENS])
def test_the_likest_of_all_tries_is_kept_and_each_try_is_its_own(config: PriorConfig) -> None:
    """A try's numbers hang on its place alone, so that more tries can only come nearer to the caption."""
    sampler = PriorSampler(talking(config), space(), X0, CPU)
    about, told_ = PriorSampling(steps=5, tries=1), caption()
    near = []
    for tries in (1, 2, 8, 32):
        z = sampler(told_, replace(about, tries=tries), seed=4, candidate=1)
        torch.testing.assert_close(norms(z[None]), torch.ones(1, 1))
        near.append(float(z @ told_["pooled"]))
    assert all(b > a - 1e-5 for a, b in itertools.pairwise(near)) and near[-1] > near[0] + 1e-4
    again = sampler(told_, about, seed=4, candidate=1)
    assert torch.equal(again, sampler(told_, about, seed=4, candidate=1))
    others = [sampler(told_, about, seed=seed, candidate=k) for seed, k in ((4, 0), (5, 1))]
    assert not any(torch.equal(again, other) for other in others)


def test_the_likest_is_that_of_the_highest_dot_product() -> None:
    z = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.6, 0.8]])
    assert torch.equal(most_similar(z, torch.tensor([0.7, 0.7])), z[1])
    assert torch.equal(most_similar(z, torch.tensor([-1.0, 0.1])), z[2])


@pytest.mark.parametrize("config", [CONFIG, TOKENS])
def test_guidance_leads_away_from_what_is_drawn_without_a_caption(config: PriorConfig) -> None:
    prior, here, about = talking(config), space(), PriorSampling(sampler="ddim", steps=4)
    rows = {name: tensor.expand(2, *tensor.shape) for name, tensor in caption().items()}

    def drawn(guidance: float, told_: dict[str, Tensor] = rows) -> Tensor:
        changed = replace(about, guidance=guidance)
        if isinstance(prior, TokenPrior):
            return run_to_end(sample_tokens(prior, here, told_, changed, 0, 0))  # type: ignore[no-any-return]
        return run_to_end(sample_diffusion(PriorDenoiser(prior, X0, CPU), X0, told_, changed, 0, 0))  # type: ignore[no-any-return]

    with torch.no_grad():
        torch.testing.assert_close(drawn(0.0), drawn(1.0, unconditional(rows)))
        torch.testing.assert_close(drawn(1 + 1e-7), drawn(1.0), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(drawn(3.0), drawn(1.0))


def test_components_are_drawn_by_their_probabilities() -> None:
    """The first component, over many tries, against the softmax of its logits averaged over the likely dots."""
    prior, here, rows = talking(TOKENS), space(), 3000
    assert isinstance(prior, TokenPrior)
    told_ = {name: tensor.expand(rows, *tensor.shape) for name, tensor in caption().items()}
    with torch.no_grad():
        found = run_to_end(sample_tokens(prior, here, told_, PriorSampling(), 0, 0))
        two = {name: tensor[:2] for name, tensor in told_.items()}
        expected = PriorDecoder(prior, two, torch.tensor([2, 3])).logits.softmax(1).mean(0)
    codes = here.buckets.quantise(found)[:, 0]
    torch.testing.assert_close(here.buckets.values(here.buckets.quantise(found)), found)
    share = torch.bincount(codes, minlength=6) / rows
    assert ((share - expected).abs() < 4 * (expected * (1 - expected) / rows).sqrt() + 1e-3).all()


def test_the_greedy_walk_takes_the_likeliest_component_every_time() -> None:
    prior, here = talking(TOKENS), space()
    assert isinstance(prior, TokenPrior)
    told_ = {name: tensor[None] for name, tensor in caption().items()}
    with torch.no_grad():
        found = run_to_end(
            sample_tokens(prior, here, told_, PriorSampling(tries=1, temperature=0.0, likeness=1.0), 0, 0)
        )
        codes = here.buckets.quantise(found)
        assert torch.equal(prior(told_, torch.tensor([3]), codes).argmax(2), codes)


def test_the_dot_product_comes_from_the_upper_part() -> None:
    even = torch.arange(1000) / 1000
    for above, buckets, kept in ((0.5, 8, [4, 5, 6, 7]), (0.0, 4, [0, 1, 2, 3]), (1.0, 4, [3]), (0.7, 10, [7, 8, 9])):
        found = draw_dots(buckets, above, even)
        counts = torch.bincount(found, minlength=buckets)
        assert sorted(set(found.tolist())) == kept and counts[kept].max() - counts[kept].min() <= 1
    assert NOISE_STAGE > 100, "no noise of a cascade's picture is a prior's"


def test_what_does_not_fit_is_refused() -> None:
    sampler, told_ = PriorSampler(talking(CONFIG), space(), X0, CPU), caption()
    with pytest.raises(UsageError, match="this prior wants the condition 'pooled'"):
        sampler({name: told_[name] for name in ("sequence", "mask")}, PriorSampling())
    for changes, sentence in (
        ({"tries": 0}, "imagining.tries"),
        ({"sampler": "ddim-inversion"}, "there is no sampler"),
        ({"guidance": math.nan}, "imagining.guidance"),
        ({"likeness": 1.5}, "imagining.likeness"),
        ({"limit": 0.0}, "imagining.limit"),
    ):
        with pytest.raises(UsageError, match=sentence):
            PriorSampling(**changes)
