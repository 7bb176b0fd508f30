"""The denoising stepper with a denoiser whose answers are known: data that are one Gaussian blob per condition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.diffusion import even_sigmas
from pinxit.functional.samplers import SAMPLERS, Denoised, drive
from pinxit.functional.sampling import normals
from pinxit.pipelines.denoise import DenoiseRequest, DenoiseStepper, Thresholding
from pinxit.pipelines.stepper import run

SPREAD = 0.1  # standard deviation of the data around its mean


class Blob:
    """The exact denoiser of N(mean, SPREAD^2), the mean being the condition."""

    shape = (3, 4, 4)
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, x: Tensor, sigma: Tensor, conditions: Mapping[str, Tensor], /) -> Denoised:
        self.rows.append(len(x))
        mean = conditions["mean"][:, None, None, None]
        wide = sigma[:, None, None, None]
        return Denoised((SPREAD**2 * x + wide**2 * mean) / (SPREAD**2 + wide**2))


def request(mean: float = 0.5, seed: int = 0, candidate: int = 0, steps: int = 6, **changes: object) -> DenoiseRequest:
    sigmas = tuple(even_sigmas("cosine", steps))
    asked = DenoiseRequest(
        {"mean": torch.tensor(mean)}, {"mean": torch.tensor(0.0)}, sigmas, seed=seed, candidate=candidate
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_slot_draws_what_its_sampler_draws_alone(sampler: str) -> None:
    stepper = DenoiseStepper(Blob(), 2, guided=False)
    (found,) = run(stepper, [request(seed=3, candidate=5, sampler=sampler)])
    draws, blob, sigmas = normals(3, 5, 0, Blob.shape), Blob(), even_sigmas("cosine", 6)

    def denoise(x: Tensor, sigma: float) -> Denoised:
        told = blob(x[None], torch.tensor([sigma]), {"mean": torch.tensor([0.5])})
        return Denoised(told.x0[0].clamp(-1, 1))

    alone = drive(SAMPLERS[sampler].run(next(draws) * sigmas[0], sigmas, lambda: next(draws)), denoise)
    assert torch.equal(found, alone)


def test_company_order_and_other_samplers_change_nothing() -> None:
    asked = [request(0.2 * k, seed=k, sampler=name, steps=3 + k) for k, name in enumerate(SAMPLERS)]
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
    scaled = run(DenoiseStepper(Blob(), 1), [request(0.9, guidance=3.0, thresholding=Thresholding(0.9))])[0]
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
    assert stepper.partial(slot).shape == Blob.shape
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
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DenoiseStepper(Blob(), 1).admit(request(**changes))  # type: ignore[arg-type]


def test_guidance_needs_a_guided_stepper() -> None:
    with pytest.raises(UsageError, match="guided stepper"):
        DenoiseStepper(Blob(), 1, guided=False).admit(request(guidance=2.0))
