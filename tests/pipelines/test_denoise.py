"""The denoising stepper with a denoiser whose answers are known: data that are one Gaussian blob per condition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.diffusion import even_sigmas, karras_sigmas
from pinxit.functional.guidance import Thresholding
from pinxit.functional.samplers import FROM_NOISE, SAMPLERS, Denoised, drive
from pinxit.functional.sampling import normals
from pinxit.pipelines.denoise import DenoiseRequest, DenoiseStepper
from pinxit.pipelines.stepper import run

SPREAD = 0.1  # standard deviation of the data around its mean


class Blob:
    """The exact denoiser of N(mean, SPREAD^2), the mean being the condition."""

    device = torch.device("cpu")

    def __init__(self, *shape: int) -> None:
        self.shape = shape or (3, 4, 4)
        self.rows: list[int] = []

    def check(self, conditions: Mapping[str, Tensor]) -> None:
        if "mean" not in conditions:
            raise UsageError("a blob wants its mean.")

    def __call__(self, x: Tensor, sigma: Tensor, conditions: Mapping[str, Tensor], /) -> Denoised:
        self.rows.append(len(x))
        ones = [1] * (x.ndim - 1)
        mean, wide = (rows.reshape(len(x), *ones) for rows in (conditions["mean"], sigma))
        return Denoised((SPREAD**2 * x + wide**2 * mean) / (SPREAD**2 + wide**2))


def request(mean: float = 0.5, seed: int = 0, candidate: int = 0, steps: int = 6, **changes: object) -> DenoiseRequest:
    sigmas = tuple(even_sigmas("cosine", steps))
    asked = DenoiseRequest(
        {"mean": torch.tensor(mean)}, {"mean": torch.tensor(0.0)}, sigmas, seed=seed, candidate=candidate
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3, 4, 4), (7,)])
@pytest.mark.parametrize("sampler", FROM_NOISE)
def test_a_slot_draws_what_its_sampler_draws_alone(sampler: str, shape: tuple[int, ...]) -> None:
    stepper = DenoiseStepper(Blob(*shape), 2, guided=False)
    (found,) = run(stepper, [request(seed=3, candidate=5, sampler=sampler)])
    draws, blob, sigmas = normals(3, 5, 0, shape), Blob(*shape), even_sigmas("cosine", 6)

    def denoise(x: Tensor, sigma: float) -> Denoised:
        told = blob(x[None], torch.tensor([sigma]), {"mean": torch.tensor([0.5])})
        return Denoised(told.x0[0].clamp(-1, 1))

    alone = drive(SAMPLERS[sampler].run(next(draws) * sigmas[0], sigmas, lambda: next(draws)), denoise)
    assert torch.equal(found, alone)


def test_company_order_and_other_samplers_change_nothing() -> None:
    asked = [request(0.2 * k, seed=k, sampler=name, steps=3 + k) for k, name in enumerate(FROM_NOISE)]
    together = run(DenoiseStepper(Blob(), 3), asked)
    backwards = run(DenoiseStepper(Blob(), 3), asked[::-1])[::-1]
    alone = [run(DenoiseStepper(Blob(), 3), [one])[0] for one in asked]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_the_batch_always_has_one_shape() -> None:
    blob = Blob()
    run(DenoiseStepper(blob, 3), [request(seed=k) for k in range(7)])
    assert set(blob.rows) == {6}


def test_guidance_leads_away_from_the_null_condition() -> None:
    means = [
        run(DenoiseStepper(Blob(), 1), [request(0.2, guidance=w, steps=20)])[0].mean().item() for w in (0.0, 1.0, 3.0)
    ]
    assert means[0] == pytest.approx(0, abs=0.1)
    assert means[1] == pytest.approx(0.2, abs=0.1)
    assert means[2] == pytest.approx(0.6, abs=0.1)


def test_guidance_of_one_is_no_guidance() -> None:
    guided, plain = (run(DenoiseStepper(Blob(), 2, guided=g), [request()])[0] for g in (True, False))
    assert torch.equal(guided, plain)


def test_what_leaves_the_range_is_clipped_or_scaled_back() -> None:
    clipped = run(DenoiseStepper(Blob(), 1), [request(0.9, guidance=3.0)])[0]
    scaled = run(DenoiseStepper(Blob(), 1), [request(0.9, guidance=3.0, thresholding=Thresholding.of(0.9))])[0]
    assert clipped.abs().max() <= 1 and scaled.abs().max() <= 1
    assert (clipped == 1).float().mean() > 0.99 and (scaled == 1).float().mean() < 0.5


def test_stages_candidates_and_seeds_have_noise_of_their_own() -> None:
    noises = {
        key: next(normals(*key, (8,)))
        for key in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, -1))  # seed, candidate, stage
    }
    values = list(noises.values())
    assert all(not torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])
    assert torch.equal(next(normals(0, 0, 0, (8,))), noises[0, 0, 0])


def test_progress_partial_pictures_and_cancelling() -> None:
    stepper = DenoiseStepper(Blob(), 2)
    slot = stepper.admit(request(sampler="heun", steps=3))
    assert stepper.progress(slot) == 0 and stepper.free == 1
    stepper.step()
    assert stepper.progress(slot) == pytest.approx(1 / 5)  # two evaluations a step, one for the last
    assert stepper.partial(slot).shape == (3, 4, 4)
    stepper.cancel(slot)
    assert stepper.free == 2 and stepper.collect() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "magic"}, "no sampler 'magic'"),
        ({"guidance": -1.0}, "guidance must be at least 0 and finite, not -1.0"),
        ({"guidance": math.nan}, "guidance must be at least 0 and finite, not nan"),
        ({"guidance": math.inf}, "guidance must be at least 0 and finite, not inf"),
        ({"sigmas": (1.0,)}, "at least one step"),
        ({"sigmas": (1.0, 2.0, 0.0)}, "must descend"),
        ({"sampler": "ddim-inversion"}, "must ascend"),
        ({"options": {"churn": 1.0}}, "no option 'churn'"),
        ({"start": torch.zeros(3, 4)}, r"the start has the shape \(3, 4\); what is drawn here has \(3, 4, 4\)"),
        ({"start": torch.full((3, 4, 4), math.nan)}, "numbers that are not finite"),
        ({"conditions": {}}, "a blob wants its mean"),
        ({"null": {"mean": torch.zeros(2)}}, r"guidance leads from mean \[2\] to mean \[\]"),
        ({"null": {}}, r"guidance leads from nothing to mean \[\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DenoiseStepper(Blob(), 1).admit(request(**changes))  # type: ignore[arg-type]


def test_guidance_needs_a_guided_stepper() -> None:
    with pytest.raises(UsageError, match="guided stepper"):
        DenoiseStepper(Blob(), 1, guided=False).admit(request(guidance=2.0))


def test_a_newcomer_is_told_all_that_it_is_drawn_for() -> None:
    """A condition that it lacked was its predecessor's, and one of another shape was broadcast into place."""
    stepper = DenoiseStepper(Blob(), 2)
    told = {"mean": torch.tensor(0.5), "hint": torch.ones(3)}
    stepper.admit(replace(request(), conditions=told, null=told))
    for other in ({"mean": torch.tensor(0.5)}, told | {"hint": torch.ones(1)}, told | {"more": torch.ones(1)}):
        with pytest.raises(UsageError, match=r"mean \[\], hint \[3\] are at work, and .* cannot join them"):
            stepper.admit(replace(request(), conditions=other, null=other))
    assert stepper.free == 1
    stepper.cancel(0)
    bare = run(stepper, [request(seed=4)])[0]  # nobody is at work: others may come
    assert torch.equal(bare, run(DenoiseStepper(Blob(), 2), [request(seed=4)])[0])


def test_a_start_is_gone_on_from_and_the_noise_on_the_way_stays_the_same() -> None:
    """Given the very noise that would have been drawn, nothing changes, whatever is drawn later."""
    sigmas = request().sigmas
    first = next(normals(3, 5, 0, (3, 4, 4))) * math.hypot(1.0, sigmas[0])
    for sampler in ("ddim", "ancestral"):
        drawn, begun = (
            run(DenoiseStepper(Blob(), 1), [request(seed=3, candidate=5, sampler=sampler, start=start)])[0]
            for start in (None, first)
        )
        assert torch.equal(drawn, begun)
    other = run(DenoiseStepper(Blob(), 1), [request(seed=3, candidate=5, start=first + 1)])[0]
    assert not torch.equal(other, begun)


def test_options_reach_the_sampler() -> None:
    """DDIM with the posterior's variance is ancestral sampling."""
    one = run(DenoiseStepper(Blob(), 1), [request(seed=1, sampler="ddim", options={"eta": 1.0})])[0]
    other = run(DenoiseStepper(Blob(), 1), [request(seed=1, sampler="ancestral")])[0]
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert not torch.allclose(one, run(DenoiseStepper(Blob(), 1), [request(seed=1)])[0], atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 4, 4), (16,)])
def test_inversion_and_back_is_the_way_of_the_known_denoiser(shape: tuple[int, ...]) -> None:
    """Of one Gaussian the flow is known: up to sigma, what stands off the mean grows by sqrt(1 + (sigma / spread)^2).

    Values outside [-1, 1] come back as well, which clipping would not let them.
    """
    down = tuple(karras_sigmas(60, 0.01, 5.0))
    free: dict[str, Any] = {"thresholding": Thresholding("none"), "sampler": "ddim-inversion", "options": {"refine": 6}}
    picture = 0.9 + SPREAD * torch.linspace(-3, 3, math.prod(shape)).view(shape)
    stepper = DenoiseStepper(Blob(*shape), 2)
    slot = stepper.admit(request(0.9, sigmas=down[::-1], start=picture, **free))
    asked = 0
    while not (done := stepper.collect()):
        assert stepper.progress(slot) == pytest.approx(asked / (7 * 60))  # one evaluation a step, and six to refine it
        stepper.step()
        asked += 1
    assert asked == 7 * 60 == SAMPLERS["ddim-inversion"].evaluations(60, options={"refine": 6})
    noise = done[0][1]
    grown = (picture - 0.9) * math.hypot(1, 5.0 / SPREAD)
    torch.testing.assert_close(noise - 0.9, grown, atol=0, rtol=0.1)
    (back,) = run(stepper, [request(0.9, sigmas=down, start=noise, thresholding=Thresholding("none"))])
    torch.testing.assert_close(back, picture, atol=1e-3, rtol=0)
    (clipped,) = run(stepper, [request(0.9, sigmas=down, start=noise)])
    assert (clipped - picture).abs().max() > 0.1
