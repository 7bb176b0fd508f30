from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pinxit.api import load
from pinxit.data.transforms import to_tensor
from pinxit.errors import CheckpointError, UsageError
from pinxit.models.decoder import CachedDecoder
from pinxit.pipelines.lanes import Lanes
from pinxit.pipelines.tokens import TokenWorker
from pinxit.recipes.dalle.painter import DallePainter
from pinxit.recipes.jobs import PaintProgress
from pinxit.types import Prompt, Ranked
from tests.recipes.painters import random_painter, save_random_checkpoint


def by_candidate(ranked: list[Ranked]) -> dict[int, Ranked]:
    return {one.candidate: one for one in ranked}


def same(a: Ranked, b: Ranked) -> bool:
    return bool((a.picture == b.picture).all()) and a.score == b.score


@pytest.mark.parametrize(("guidance", "int8"), [(1.0, False), (3.0, False), (3.0, True)])
def test_same_seed_same_pictures_in_any_company(guidance: float, int8: bool) -> None:
    """Alone, among other prompts, in any order, with more candidates than slots: bit for bit."""
    lonely = random_painter(int8=int8)
    alone = by_candidate(lonely.paint("a red square", candidates=3, keep=None, seed=5, guidance=guidance))
    jobs = [("two blue stars", 1), ("a red square", 5), ("a cat", 0)]
    painter = random_painter(int8=int8)
    for order in (jobs, jobs[::-1]):
        many = painter.paint_many(order, candidates=7, keep=None, guidance=guidance)
        crowd = by_candidate(many[order.index(("a red square", 5))])
        assert all(same(alone[k], crowd[k]) for k in alone)
    others = by_candidate(painter.paint("a red square", candidates=3, keep=None, seed=6, guidance=guidance))
    assert not any(same(alone[k], others[k]) for k in alone)


def test_a_painter_can_be_pickled_after_its_first_painting_too() -> None:
    painter = random_painter()
    (one,) = painter.paint("a cat", candidates=1)
    (again,) = pickle.loads(pickle.dumps(painter)).paint("a cat", candidates=1)
    assert same(one, again)


def test_a_tile_has_room_for_a_guided_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of two lanes, however few rows are asked for."""
    monkeypatch.setattr("pinxit.recipes.dalle.graph.Lanes", lambda device: Lanes(device, 2))
    painter = random_painter(rows=1)
    found = by_candidate(painter.paint("a cat", candidates=3, keep=None, guidance=3.0))
    assert found.keys() == {0, 1, 2}


def test_best_first_and_keep() -> None:
    painter = random_painter()
    everything = painter.paint("a cat", candidates=6, keep=None)
    scores = [one.score for one in everything]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) > 1
    kept = painter.paint("a cat", candidates=6, keep=2)
    assert [one.candidate for one in kept] == [one.candidate for one in everything[:2]]


def test_agreement_changes_the_ranking_and_no_picture() -> None:
    painter = random_painter()
    plain = by_candidate(painter.paint("a cat", candidates=6, keep=None))
    agreed = painter.paint("a cat", candidates=6, keep=None, agreement=3.0)
    assert [one.score for one in agreed] == sorted((one.score for one in agreed), reverse=True)
    for one in agreed:
        assert (one.picture == plain[one.candidate].picture).all() and one.score < plain[one.candidate].score
    assert painter.paint("a cat", candidates=1, agreement=3.0)[0].score == pytest.approx(plain[0].score), "alone"
    again = painter.rank(Prompt("a cat"), [plain[k].picture for k in range(6)], agreement=3.0)
    assert [(one.candidate, one.score) for one in again] == [(one.candidate, one.score) for one in agreed]


def test_none_is_the_painters_own_way_to_rank(tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path, {"agreement": 3.0})
    painter = load(tmp_path, device="cpu")
    usual = painter.paint("a cat", candidates=4, keep=None)
    assert [one.score for one in painter.paint("a cat", candidates=4, keep=None, agreement=None)] == [
        one.score for one in usual
    ]
    pictures = [by_candidate(usual)[k].picture for k in range(4)]
    assert [one.score for one in painter.rank(Prompt("a cat"), pictures, agreement=None)] == [
        one.score for one in usual
    ]
    with pytest.raises(UsageError, match="agreement"):
        painter.rank(Prompt("a cat"), pictures, agreement=-1)


def test_progress_rises_to_the_end_and_shows_pictures() -> None:
    seen: list[float] = []
    shapes: set[tuple[int, ...]] = set()

    def watch(progress: PaintProgress) -> None:
        seen.append(progress.share)
        shapes.update(picture.shape for picture in progress.preview())

    random_painter(rows=2).paint("a cat", candidates=5, watch=watch, previews=0.0)
    assert seen == sorted(seen) and seen[-1] == 1.0 and seen[0] == 0 < seen[1] < 0.1
    assert shapes == {(32, 32, 3)}


def test_completion_keeps_known_pixels_and_redraws_the_rest() -> None:
    painter = random_painter()
    picture = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    hole = painter.hole(picture, box=(16, 8, 24, 24))
    results = painter.complete(picture, "a cat", hole, candidates=3, keep=None)
    mask = np.kron(hole, np.ones((8, 8), bool))
    square = picture[:, 8:40]
    for one in results:
        assert (one.picture[~mask] == square[~mask]).all()
    assert len({one.picture[mask].tobytes() for one in results}) > 1
    again = painter.complete(picture, "a cat", hole, candidates=1, keep=None)[0]
    assert same(again, by_candidate(results)[0])


def test_bad_requests_are_one_sentence() -> None:
    painter = random_painter()
    with pytest.raises(UsageError, match="prompt is empty"):
        painter.paint("  ")
    with pytest.raises(UsageError, match="at least 1"):
        painter.paint("a cat", candidates=0)
    with pytest.raises(UsageError, match="no setting 'temprature'"):
        painter.paint("a cat", temprature=1.0)
    with pytest.raises(UsageError, match="either keep_rows or box"):
        painter.hole(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize(("clip_tokens", "limit"), [(12, 10), (40, 16)])
def test_a_prompt_is_too_long_when_the_transformer_or_clip_cuts_it(clip_tokens: int, limit: int) -> None:
    """Once CLIP ranked by a prompt's beginning and nobody was told; it needs two tokens more, start and end."""
    painter = random_painter(clip_tokens=clip_tokens)
    assert painter.text_tokens == limit
    for length in (limit, limit + 1, 20):
        assert painter.tokens_over_limit(" ".join("a" * length)) == length - limit
    assert len(painter.paint(" ".join("a" * 16), candidates=1)) == 1  # and the transformer reads all of its own


def test_int8_reaches_the_decoder_of_a_checkpoint(tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path / "nano")
    bytes_read = []
    for int8 in (False, True):
        painter = load(tmp_path / "nano", device="cpu", int8=int8)
        assert isinstance(painter, DallePainter) and painter.provenance.get("int8", False) is int8
        worker = painter.graph["tokens"].worker
        assert isinstance(worker, TokenWorker)
        decoder = worker.decoder
        assert isinstance(decoder, CachedDecoder)
        bytes_read.append(decoder.bytes_per_step)
    assert bytes_read[1] < bytes_read[0]


def test_checkpoint_paints_what_the_models_paint(tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path / "nano")
    painter = load(tmp_path / "nano", device="cpu")
    assert painter.defaults["guidance"] == 1.5 and len(painter.provenance["checkpoint_hash"]) == 12
    painted = painter.paint("a red square", candidates=2)
    assert {one.candidate for one in painted} == {0, 1}
    assert painter.unknown_words("a red zebra") == ["zebra"]
    assert painter.tokens_over_limit("a red square " * 20) > 0
    (tmp_path / "nano" / "words.json").unlink()
    with pytest.raises(CheckpointError, match=r"words\.json is missing"):
        load(tmp_path / "nano")


def test_completions_are_ranked_by_how_well_they_lead_on_to_what_is_known() -> None:
    """CLIP's cosine, plus the mean log-likelihood of the known codes behind the hole over CLIP's scale.

    The first cell alone is drawn, greedily: what stands behind it is known, and the transformer says how likely.
    """
    painter, prompt = random_painter(), "a cat"
    known = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    hole = painter.hole(known, box=(0, 0, 8, 8))
    (found,) = painter.complete(known, prompt, hole, candidates=1, temperature=0.0, guidance=1.0)
    ids = torch.from_numpy(painter.tokenizer.encode([prompt], painter.transformer.config.text_tokens))
    with torch.inference_mode():
        codes = painter.dvae.encode_codes(to_tensor(known[None])).flatten(1)
        codes[0, 0] = painter.transformer(ids, codes)[1][0, 0].argmax()
        likely = painter.transformer(ids, codes)[1].log_softmax(2)[0, 1:].gather(1, codes[0, 1:, None]).mean()
    plain = painter.rank(Prompt(prompt), [found.picture])[0].score
    assert found.score == pytest.approx(plain + float(likely) / painter.ranker.scale, abs=2e-3)
    assert float(likely) / painter.ranker.scale < -0.01, "it weighs"
