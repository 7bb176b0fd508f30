"""An unCLIP paints over the shared engine: what the decoder is told, settings, previews, cancels, the upsampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.api import load, load_upsampler
from pinxit.errors import CheckpointError, UsageError
from pinxit.pipelines.coroutine import CoroutineWorker, run_to_end
from pinxit.pipelines.denoise import DenoiseRequest
from pinxit.pipelines.engine import Engine
from pinxit.pipelines.work import Job
from pinxit.recipes.jobs import PaintProgress
from pinxit.recipes.requests import PaintRequest
from pinxit.recipes.unclip.graph import PriorRequest, prior_requests, sample_prior
from pinxit.recipes.unclip.painter import UnclipPainter
from pinxit.recipes.unclip.settings import prior_sampling
from pinxit.types import Prompt

pytest.importorskip("transformers")
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.unclips import save_random_unclip

FEW: dict[str, Any] = {"steps": 2, "prior_steps": 3}
SAID = "a red square on the left"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_unclip(tmp_path_factory.mktemp("unclip") / "nano")


@pytest.fixture(scope="module")
def painter(folder: Path) -> UnclipPainter:
    found = load(folder, device="cpu")
    assert isinstance(found, UnclipPainter)
    return found


class Item:
    """What the prior's stage is given."""

    def __init__(self, asked: PaintRequest, value: PriorRequest) -> None:
        self.job, self.value = Job([], asked), value


def requests(painter: UnclipPainter, **settings: Any) -> list[DenoiseRequest]:
    """What the decoder is asked for eight candidates."""
    asked = PaintRequest(Prompt(SAID, 5), 8, None, painter.settled(settings))
    return [run_to_end(sample_prior(painter.parts, Item(asked, one))) for one in prior_requests(painter.parts, asked)]  # type: ignore[arg-type]


STEPS: dict[str, dict[str, Any]] = {"prior": {"prior_steps": 3}, "components": {}}  # only diffusion has steps


@pytest.mark.parametrize("prior", STEPS)
def test_the_decoder_is_told_what_the_prior_imagines(painter: UnclipPainter, prior: str) -> None:
    """The very embedding that the prior alone gives for (caption, seed, candidate), in the space's coordinates."""
    how: dict[str, Any] = {"prior": prior, "prior_guidance": 2.0, "tries": 3} | STEPS[prior]
    sampling = replace(prior_sampling(painter.defaults), steps=3, guidance=2.0, tries=3)
    asked = painter.embedder.conditions(SAID), sampling
    found = requests(painter, **how)
    for candidate, request in enumerate(found):
        expected = painter.embedder.space.encode(painter.priors[prior](*asked, 5, candidate))
        torch.testing.assert_close(request.conditions["image"], expected)
        assert (request.seed, request.candidate) == (5, candidate)
    assert not torch.equal(found[0].conditions["image"], found[1].conditions["image"])


def test_without_a_prior_the_captions_embedding_stands_for_the_pictures(painter: UnclipPainter) -> None:
    own = painter.embedder.space.encode(painter.embedder.captions([SAID])[0])
    for request in requests(painter, prior="none"):
        torch.testing.assert_close(request.conditions["image"], own)


def test_guidance_leads_away_from_no_caption_and_no_embedding(painter: UnclipPainter) -> None:
    (request, *_), (blind, *_) = requests(painter), requests(painter, text=False)
    assert request.conditions["mask"].any() and request.conditions["image"].any()
    assert not request.null["mask"].any() and not request.null["image"].any()
    assert not blind.conditions["mask"].any(), "the caption is withheld"
    torch.testing.assert_close(blind.conditions["image"], request.conditions["image"])
    painter.parts.denoiser.check(request.conditions)
    painter.parts.denoiser.check(request.null)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_beside_a_caption_the_embedding_weighs_what_it_is_told_to(painter: UnclipPainter, weight: float) -> None:
    """From none of it to all; where no caption is told, always all."""
    whole = [one.conditions["image"] for one in requests(painter, text=False)]
    for name, told in (("text", {"text": True}), ("blind", {"text": False})):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(painter.defaults, "embedding_weight", weight)
            found = requests(painter, **told)
        for one, embedding in zip(found, whole, strict=True):
            expected = embedding * (weight if name == "text" else 1.0)  # no embedding is zeros
            torch.testing.assert_close(one.conditions["image"], expected)
            assert not one.null["image"].any()
    with pytest.raises(UsageError, match="embedding_weight has no effect on pictures drawn from a picture's embedding"):
        painter.vary(np.zeros((32, 32, 3), np.uint8), embedding_weight=weight)


def test_pictures_are_guided_to_all_of_the_embedding_that_the_prior_imagines(painter: UnclipPainter) -> None:
    whole, part = (requests(painter, clip_guidance=0.1, embedding_weight=weight) for weight in (1.0, 0.5))
    assert painter.embedder.clip is not None
    side = painter.embedder.clip.size
    square = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    for one, other in zip(whole, part, strict=True):
        imagined = one.conditions["image"]
        assert one.towards is not None and other.towards is not None
        assert (one.towards.step, one.towards.moves) == (0.1, 2)
        torch.testing.assert_close(one.towards.target, imagined / imagined.norm())
        assert torch.equal(other.towards.target, one.towards.target)
        y_K = painter.embedder.space.encode(painter.embedder.pictures([square]))[0]
        seen = one.towards.embed(torch.from_numpy(square).permute(2, 0, 1)[None] / 255)[0]
        torch.testing.assert_close(seen, y_K / y_K.norm(), rtol=1e-3, atol=1e-4)
    assert [one.towards for one in requests(painter, clip_guidance=0.0)] == [None] * len(whole)


def test_a_candidate_is_the_same_in_any_company(painter: UnclipPainter) -> None:
    alone = painter.paint(SAID, candidates=2, keep=None, seed=7, **FEW)
    many = painter.paint_many([("left: blue", 1), (SAID, 7)], candidates=5, keep=None, **FEW)[1]
    crowd = {one.candidate: one.picture for one in many}
    assert all(np.array_equal(one.picture, crowd[one.candidate]) for one in alone)
    assert [one.score for one in many] == sorted((one.score for one in many), reverse=True)
    other = painter.paint(SAID, candidates=2, keep=None, seed=8, **FEW)
    assert not any(np.array_equal(one.picture, crowd[one.candidate]) for one in other)


def test_every_setting_makes_other_pictures(painter: UnclipPainter) -> None:
    changes: Sequence[dict[str, Any]] = [
        {}, {"prior": "none", "prior_steps": None}, {"text": False}, {"tries": 30},
        {"prior_guidance": 3.0}, {"prior_steps": 4},
        {"prior_sampler": "ddim"}, {"prior_limit": 0.1}, {"guidance": 1.0}, {"sampler": "ancestral"},
        {"embedding_weight": 0.5},
    ]  # fmt: skip
    other = {"prior": "components", "prior_steps": None}
    tokens = [other | some for some in ({}, {"prior_temperature": 0.0}, {"prior_top_p": 0.6})]
    drawn = [painter.paint(SAID, candidates=1, seed=3, **FEW | some)[0] for some in [*changes, *tokens]]
    assert len({one.picture.tobytes() for one in drawn}) == len(drawn)
    greedy = {"prior": "components", "prior_temperature": 0.0, "tries": 1}
    told = [[one.conditions["image"] for one in requests(painter, **greedy, likeness=share)] for share in (0.0, 1.0)]
    assert any(not torch.equal(one, other) for one, other in zip(*told, strict=True)), "half of the dots are low"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"text": False, "embedding_weight": 0.5}, "embedding_weight has no effect where no caption is told"),
        ({"prior": "none", "tries": 3}, r"tries has no effect without a prior \(prior=none\): leave it out"),
        ({"prior": "none", "likeness": 0.1}, "likeness has no effect without a prior"),
        ({"likeness": 0.9}, "likeness has no effect on the diffusion prior 'prior': leave it out"),
        (
            {"prior_temperature": 0.5, "prior": "prior"},
            "prior_temperature has no effect on the diffusion prior 'prior'",
        ),
        (
            {"prior": "components", "prior_steps": 9},
            "prior_steps has no effect on the autoregressive prior 'components': leave it out",
        ),
        ({"prior": "decoder"}, "there is no prior 'decoder' here; choose from prior, components, none"),
        ({"tries": 0}, "tries must be from 1 to 1000, not 0"),
        ({"prior_guidance": -1}, "prior_guidance must be at least 0"),
        ({"prior_sampler": "ddim-inversion"}, "there is no sampler 'ddim-inversion'"),
        ({"likeness": 2}, "likeness must be from 0 to 1"),
        ({"embedding_weight": 1.5}, "embedding_weight must be from 0 to 1"),
        ({"text": 3}, "text must be true or false"),
        ({"temperature": 1}, "there is no setting 'temperature'"),
    ],
)
def test_what_cannot_be_painted_is_refused(painter: UnclipPainter, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        painter.paint(SAID, **settings)


def test_progress_rises_and_the_decoder_is_seen(painter: UnclipPainter) -> None:
    seen: list[tuple[float, int]] = []

    def watch(done: PaintProgress) -> None:
        seen.append((done.share, len(done.preview())))

    painter.paint(SAID, candidates=2, watch=watch, previews=0.0, **FEW)
    shares = [share for share, _ in seen]
    assert shares == sorted(shares) and shares[-1] == 1 and max(count for _, count in seen) > 0
    early = [share for share, _ in seen if 0 < share < 0.08]
    assert len(early) >= 2, "the prior's steps count"


@pytest.mark.parametrize("turns", [1, 2, 4, 7])
def test_a_job_is_let_go_at_any_stage_and_painted_again(painter: UnclipPainter, turns: int) -> None:
    engine = Engine(painter.graph)
    asked = PaintRequest(Prompt(SAID, 1), 2, None, painter.settled(FEW))
    first, again = (Job([(painter.graph.routes["paint"], None)], request=asked) for _ in range(2))
    engine.submit(first)
    for _ in range(turns):
        engine.turn()
    engine.cancel(first)
    engine.submit(again)
    while engine.turn():
        pass
    assert first.outcome and first.outcome.kind == "cancelled" and not engine.started
    assert again.outcome and again.outcome.kind == "done"
    expected = painter.paint(SAID, candidates=2, keep=None, seed=1, **FEW)
    for one, other in zip(again.outcome.data, expected, strict=True):
        assert np.array_equal(one.picture, other.picture)


def test_a_coroutine_that_is_let_go_is_closed() -> None:
    closed: list[bool] = []

    def steps(item: Any) -> Any:
        try:
            yield 0.5
        finally:
            closed.append(True)

    worker = CoroutineWorker(steps)
    state = worker.begin(None)  # type: ignore[arg-type]
    worker.step([state])
    assert worker.progress(state) == 0.5 and not worker.done(state)
    worker.end(state)
    assert closed == [True]


def test_kept_pictures_are_enlarged_by_its_own_upsampler(painter: UnclipPainter, folder: Path) -> None:
    small = painter.paint(SAID, candidates=3, keep=2, **FEW)
    large = painter.paint(SAID, candidates=3, keep=2, upsampler=painter.upsampler, **FEW)
    alone = load_upsampler(folder, device="cpu").enlarge(SAID, small)
    for one, other, third in zip(small, large, alone, strict=True):
        assert one.picture.shape == (16, 16, 3) and other.picture.shape == (32, 32, 3)
        assert one.candidate == other.candidate and np.array_equal(other.picture, third.picture)


def test_what_holds_no_upsampler_or_is_of_another_clip_is_refused(folder: Path, tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path / "dalle")
    with pytest.raises(CheckpointError, match="holds a checkpoint of dalle, which has no upsampler"):
        load_upsampler(tmp_path / "dalle", device="cpu")
    with pytest.raises(UsageError, match="is a checkpoint of unclip, not of dalle"):
        load(folder, recipe="dalle")
    with pytest.raises(UsageError, match="is a checkpoint of unclip: int8"):
        load(folder, int8=True)


def test_a_picture_is_noise_of_seed_and_candidate_alone(painter: UnclipPainter) -> None:
    """Two candidates of the same embedding are drawn from noise of their own."""
    settings: dict[str, Any] = {"prior": "none", "text": False, "steps": 2}
    one, other = painter.paint(SAID, candidates=2, keep=None, **settings)
    assert not np.array_equal(one.picture, other.picture)
    assert isinstance(requests(painter, **settings)[0].conditions["image"], Tensor)
