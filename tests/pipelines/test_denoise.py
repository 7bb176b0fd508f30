"""The denoising worker with a denoiser whose answers are known: data that are one Gaussian blob per condition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.clip_guidance import ClipGuidance
from pinxit.functional.diffusion import even_sigmas, karras_sigmas
from pinxit.functional.guidance import Thresholding
from pinxit.functional.samplers import FROM_NOISE, SAMPLERS, Denoised, drive
from pinxit.functional.sampling import normals
from pinxit.pipelines.denoise import DenoiseRequest, DenoiseWorker
from pinxit.pipelines.run import run
from pinxit.pipelines.work import Job, WorkItem

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
def test_an_item_draws_what_its_sampler_draws_alone(sampler: str, shape: tuple[int, ...]) -> None:
    worker = DenoiseWorker(Blob(*shape), 2)
    (found,) = run(worker, [request(seed=3, candidate=5, sampler=sampler)])
    draws, blob, sigmas = normals(3, 5, 0, shape), Blob(*shape), even_sigmas("cosine", 6)

    def denoise(x: Tensor, sigma: float) -> Denoised:
        told = blob(x[None], torch.tensor([sigma]), {"mean": torch.tensor([0.5])})
        return Denoised(told.x0[0].clamp(-1, 1))

    alone = drive(SAMPLERS[sampler].run(next(draws) * sigmas[0], sigmas, lambda: next(draws)), denoise)
    assert torch.equal(found, alone)


def test_company_order_and_other_samplers_change_nothing() -> None:
    asked = [request(0.2 * k, seed=k, sampler=name, steps=3 + k) for k, name in enumerate(FROM_NOISE)]
    together = run(DenoiseWorker(Blob(), 3), asked)
    backwards = run(DenoiseWorker(Blob(), 3), asked[::-1])[::-1]
    alone = [run(DenoiseWorker(Blob(), 3), [one])[0] for one in asked]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_a_call_always_has_one_shape_and_no_row_is_computed_in_vain() -> None:
    blob = Blob()
    run(DenoiseWorker(blob, 3), [request(seed=k) for k in range(7)])
    assert set(blob.rows) == {3} and len(blob.rows) == 3 * 6  # 7 rows in tiles of 3, and 6 steps
    alone = Blob()
    run(DenoiseWorker(alone, 2), [request(guidance=2.0)])
    assert alone.rows == [2] * 6


def test_guidance_leads_away_from_the_null_condition() -> None:
    means = [
        run(DenoiseWorker(Blob(), 1), [request(0.2, guidance=w, steps=20)])[0].mean().item() for w in (0.0, 1.0, 3.0)
    ]
    assert means[0] == pytest.approx(0, abs=0.1)
    assert means[1] == pytest.approx(0.2, abs=0.1)
    assert means[2] == pytest.approx(0.6, abs=0.1)


def test_guidance_of_one_is_no_guidance() -> None:
    blob = Blob()
    found = [run(DenoiseWorker(blob, 1), [request(null=null)])[0] for null in ({}, {"mean": torch.tensor(-9.0)})]
    assert torch.equal(*found) and len(blob.rows) == 2 * 6, "and takes no second row"


def test_predictions_are_thresholded_and_then_moved() -> None:
    moved, looked = [], []

    class Halved(ClipGuidance):
        def __call__(self, x0: Tensor, sigma: float) -> Tensor:
            moved.append((x0, sigma))
            return x0 / 2

    worker = DenoiseWorker(Blob(), 1)
    state = begun(worker, request(3.0, towards=Halved(lambda pictures: pictures, torch.zeros(1), 0.1)))
    while not worker.done(state):
        worker.step([state])
        looked.append(worker.preview(state))
    assert [sigma for _, sigma in moved] == even_sigmas("cosine", 6)[:-1]
    assert all(torch.equal(x0, torch.ones(3, 4, 4)) for x0, _ in moved), "the data's mean, 3, is clipped to 1"
    assert all(torch.equal(seen, torch.full((3, 4, 4), 0.5)) for seen in looked)
    assert torch.equal(worker.result(state), looked[-1])


def test_what_leaves_the_range_is_clipped_or_scaled_back() -> None:
    clipped = run(DenoiseWorker(Blob(), 1), [request(0.9, guidance=3.0)])[0]
    scaled = run(DenoiseWorker(Blob(), 1), [request(0.9, guidance=3.0, thresholding=Thresholding.of(0.9))])[0]
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


def test_progress_and_looks() -> None:
    worker = DenoiseWorker(Blob(), 2)
    walk = begun(worker, request(sampler="heun", steps=3))
    assert worker.progress(walk) == 0 and worker.preview(walk) is None
    worker.step([walk])
    assert worker.progress(walk) == pytest.approx(1 / 5)  # two evaluations a step, one for the last
    assert worker.preview(walk).shape == (3, 4, 4) and not worker.done(walk)


def begun(worker: DenoiseWorker, asked: DenoiseRequest) -> Any:
    return worker.begin(WorkItem(Job([]), ("it",), 0, (0,), asked))


def test_items_may_pause() -> None:
    """Others go on meanwhile; what has gone so far is the same where it is taken up again."""
    asked = [request(0.3 * k, seed=k, guidance=1.0 + k % 2, sampler="ancestral") for k in range(3)]
    worker = DenoiseWorker(Blob(), 2)
    walks = [begun(worker, one) for one in asked]
    for turn in (0, 1, 1, 2, 0, 0):
        worker.step([walks[turn]])
    while left := [walk for walk in walks if not worker.done(walk)]:
        worker.step(left)
    alone = [run(DenoiseWorker(Blob(), 2), [one])[0] for one in asked]
    assert all(torch.equal(worker.result(walk), one) for walk, one in zip(walks, alone, strict=True))


def test_what_is_made_of_a_sample() -> None:
    made = DenoiseWorker(Blob(), 1, finish=lambda asked, sample: (asked.about, sample.mean().item()))
    ((about, mean),) = run(made, [request(0.5, about="mine", steps=20)])
    assert about == "mine" and mean == pytest.approx(0.5, abs=0.1)


def test_what_is_not_a_number_fails_alone() -> None:
    class Sick(Blob):
        def __call__(self, x: Tensor, sigma: Tensor, conditions: Mapping[str, Tensor], /) -> Denoised:
            told = super().__call__(x, sigma, conditions)
            told.x0[conditions["mean"] == 9] = math.nan
            return told

    worker, asked = DenoiseWorker(Sick(), 3), [request(seed=1), request(9.0), request(seed=2)]
    with pytest.raises(ArithmeticError, match="not finite"):
        run(worker, asked)
    assert all(torch.equal(run(worker, [one])[0], run(DenoiseWorker(Blob(), 3), [one])[0]) for one in asked[::2])


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
        run(DenoiseWorker(Blob(), 1), [request(**{"guidance": 2.0} | changes)])  # type: ignore[arg-type]


def test_items_of_unlike_conditions_share_no_call() -> None:
    """A condition that one lacks must not be another's, and one of another shape not be broadcast into place."""

    class Strict(Blob):
        def __call__(self, x: Tensor, sigma: Tensor, conditions: Mapping[str, Tensor], /) -> Denoised:
            seen.append((len(x), {name: tuple(rows.shape[1:]) for name, rows in conditions.items()}))
            return super().__call__(x, sigma, conditions)

    seen: list[tuple[int, dict[str, tuple[int, ...]]]] = []
    mean = {"mean": torch.tensor(0.5)}
    asked = [replace(request(seed=k), conditions=mean | more) for k, more in enumerate((
        {}, {"hint": torch.ones(3)}, {"hint": torch.ones(1)}, {}
    ))]  # fmt: skip
    together = run(DenoiseWorker(Strict(), 4), asked)
    assert {tuple(sorted(shapes)) for _, shapes in seen} == {("mean",), ("hint", "mean")} and len(seen) == 3 * 6
    alone = [run(DenoiseWorker(Strict(), 4), [one])[0] for one in asked]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


def test_a_start_is_gone_on_from_and_the_noise_on_the_way_stays_the_same() -> None:
    """Given the very noise that would have been drawn, nothing changes, whatever is drawn later."""
    sigmas = request().sigmas
    first = next(normals(3, 5, 0, (3, 4, 4))) * math.hypot(1.0, sigmas[0])
    for sampler in ("ddim", "ancestral"):
        drawn, begun = (
            run(DenoiseWorker(Blob(), 1), [request(seed=3, candidate=5, sampler=sampler, start=start)])[0]
            for start in (None, first)
        )
        assert torch.equal(drawn, begun)
    other = run(DenoiseWorker(Blob(), 1), [request(seed=3, candidate=5, start=first + 1)])[0]
    assert not torch.equal(other, begun)


def test_options_reach_the_sampler() -> None:
    """DDIM with the posterior's variance is ancestral sampling."""
    one = run(DenoiseWorker(Blob(), 1), [request(seed=1, sampler="ddim", options={"eta": 1.0})])[0]
    other = run(DenoiseWorker(Blob(), 1), [request(seed=1, sampler="ancestral")])[0]
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert not torch.allclose(one, run(DenoiseWorker(Blob(), 1), [request(seed=1)])[0], atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 4, 4), (16,)])
def test_inversion_and_back_is_the_way_of_the_known_denoiser(shape: tuple[int, ...]) -> None:
    """Of one Gaussian the flow is known: up to sigma, what stands off the mean grows by sqrt(1 + (sigma / spread)^2).

    Values outside [-1, 1] come back as well, which clipping would not let them.
    """
    down = tuple(karras_sigmas(60, 0.01, 5.0))
    free: dict[str, Any] = {"thresholding": Thresholding("none"), "sampler": "ddim-inversion", "options": {"refine": 6}}
    picture = 0.9 + SPREAD * torch.linspace(-3, 3, math.prod(shape)).view(shape)
    worker = DenoiseWorker(Blob(*shape), 2)
    walk = begun(worker, request(0.9, sigmas=down[::-1], start=picture, **free))
    asked = 0
    while not worker.done(walk):
        assert worker.progress(walk) == pytest.approx(asked / (7 * 60))  # one evaluation a step, and six to refine it
        worker.step([walk])
        asked += 1
    assert asked == 7 * 60 == SAMPLERS["ddim-inversion"].evaluations(60, options={"refine": 6})
    noise = worker.result(walk)
    grown = (picture - 0.9) * math.hypot(1, 5.0 / SPREAD)
    torch.testing.assert_close(noise - 0.9, grown, atol=0, rtol=0.1)
    (back,) = run(worker, [request(0.9, sigmas=down, start=noise, thresholding=Thresholding("none"))])
    torch.testing.assert_close(back, picture, atol=1e-3, rtol=0)
    (clipped,) = run(worker, [request(0.9, sigmas=down, start=noise)])
    assert (clipped - picture).abs().max() > 0.1
