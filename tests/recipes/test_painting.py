"""What every painter does alike: prompts share the machine and come in their order."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest

from pinxit.errors import UsageError
from pinxit.files import to_json
from pinxit.pipelines.engine import Engine
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.tokens import TokenWorker
from pinxit.pipelines.work import Job
from pinxit.pipelines.worker import FunctionWorker
from pinxit.recipes.dalle.painter import DallePainter
from pinxit.recipes.jobs import PaintProgress, collect_results, run_jobs
from pinxit.recipes.painting import picture_facts
from pinxit.types import Prompt
from tests.recipes.painters import random_painter

PROMPTS = [("a red square", 1), ("two blue stars", 2), ("a cat", 3)]


def tokens(painter: DallePainter) -> TokenWorker:
    worker = painter.graph["tokens"].worker
    assert isinstance(worker, TokenWorker)
    return worker


def test_prompts_come_in_their_order_each_as_it_is_painted_alone() -> None:
    painter = random_painter()
    found = list(painter.paint_each(PROMPTS, candidates=2, keep=1))
    alone = [painter.paint(text, seed=seed, candidates=2, keep=1) for text, seed in PROMPTS]
    for one, other in zip(found, alone, strict=True):
        assert [(a.seed, a.candidate, a.score) for a in one] == [(b.seed, b.candidate, b.score) for b in other]


def test_what_each_stage_weighs_in_a_pictures_progress() -> None:
    stages = random_painter().graph.stages
    weights = {"text": 0.0, "tokens": 1.0, "pixels": 0.02, "embed": 0.05, "rank": 0.0}
    assert {name: stage.weight for name, stage in stages.items()} == weights
    assert [name for name, stage in stages.items() if stage.gather] == ["rank"] and stages["tokens"].shown == "pixels"


def test_prompts_of_one_candidate_share_calls() -> None:
    """Once a second prompt was begun only when the first had ended: a hundred prompts took a hundred times as long."""
    painter = random_painter(rows=8)
    worker, sizes = tokens(painter), list[int]()
    step = worker.step

    def noted(states: Any) -> None:
        sizes.append(len(states))
        step(states)

    worker.step = noted  # type: ignore[method-assign]
    painter.paint_many([("a cat", seed) for seed in range(4)], candidates=1)
    cells = painter.grid**2
    assert len(sizes) < 1.3 * cells * -(-4 // (worker.width)) and max(sizes) == min(4, worker.width)


def test_what_is_not_waited_for_is_let_go() -> None:
    painter = random_painter()
    coming = painter.paint_each(PROMPTS, candidates=5)
    next(coming)
    coming.close()
    assert not painter._engine.jobs and not painter._engine.started
    assert all(len(tile.free) == tile.decoder.slots for tile in tokens(painter).tiles)


def test_what_is_forgotten_may_be_freed_during_a_turn() -> None:
    """The garbage collector may do so in the thread of the turn itself, which then waited for itself for ever."""
    painter = random_painter()
    coming = painter.paint_each(PROMPTS, candidates=2)
    next(coming)
    freed = Thread(target=coming.close, daemon=True)
    with painter._engine.turning:
        freed.start()
        freed.join(20)
        assert not freed.is_alive() and painter._engine.jobs
    assert len(painter.paint("a cat", candidates=2)) == 2 and not painter._engine.jobs


def test_an_interrupt_lets_everything_go() -> None:
    painter, calls = random_painter(), 0

    def watch(_: PaintProgress) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        painter.paint("a cat", candidates=5, watch=watch)
    assert not painter._engine.jobs
    assert len(painter.paint("a cat", candidates=1)) == 1


def test_two_readers_of_one_painter_get_their_own() -> None:
    painter = random_painter()
    one, other = (painter.paint_each(PROMPTS[k:], candidates=1) for k in (0, 1))
    first, second = next(one), next(other)
    assert (first[0].seed, second[0].seed) == (1, 2)
    assert [kept[0].seed for kept in one] == [2, 3] and [kept[0].seed for kept in other] == [3]


def test_threads_share_a_painter() -> None:
    """Two that took turns at once failed inside, or got each other's items."""
    painter, met = random_painter(), Barrier(3)

    def paint(k: int) -> list[tuple[bytes, float]]:
        met.wait()
        shares = list[float]()
        (kept,) = painter.paint_many([PROMPTS[k]], candidates=2, watch=lambda done: shares.append(done.share))
        assert shares == sorted(shares) and shares[-1] == 1.0
        return [(one.picture.tobytes(), one.score) for one in kept]

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(paint, range(3)))
    alone = [painter.paint(text, seed=seed, candidates=2) for text, seed in PROMPTS]
    assert found == [[(one.picture.tobytes(), one.score) for one in kept] for kept in alone]
    assert not painter._engine.jobs


def test_a_request_that_cannot_be_drawn_is_refused() -> None:
    painter = random_painter()
    with pytest.raises(UsageError, match="top_p"):
        painter.paint_many(PROMPTS, candidates=1, top_p=0.0)
    for keep in (0, -1):  # a slice would take none, or all but the last
        with pytest.raises(UsageError, match=f"keep must be at least 1, not {keep}"):
            painter.paint_each(PROMPTS, candidates=2, keep=keep)
        with pytest.raises(UsageError, match="keep must be at least 1"):
            painter.asked(Prompt(*PROMPTS[0]), 2, keep)
    assert not painter._engine.jobs


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"candidates": 2.0}, "candidates must be a whole number, not 2.0"),
        ({"candidates": "2"}, "candidates must be a whole number, not '2'"),
        ({"candidates": 0}, "candidates must be at least 1, not 0"),
        ({"keep": 1.5}, "keep must be a whole number, not 1.5; None keeps all"),
    ],
)
def test_a_number_of_pictures_that_is_none_is_refused(how: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        random_painter().paint_each(PROMPTS, **how)


@pytest.mark.parametrize("prompts", ["a cat", ["a cat"], [("a cat", 1, 2)], [{"text": "a cat"}]])
def test_prompts_without_their_seeds_are_refused(prompts: Any) -> None:
    with pytest.raises(UsageError, match=r"give each prompt as \(text, seed\), not"):
        random_painter().paint_each(prompts)


def test_numbers_of_numpy_are_numbers() -> None:
    """Seeds from an array were refused: "seed must be a whole number, not 0"."""
    painter = random_painter()
    two: Any = np.uint8(2)
    seed, guidance, top_k = np.arange(3)[2], np.float32(1.5), np.int32(9)
    own = painter.asked(Prompt("a cat", 2), 2, 2, {"guidance": 1.5, "top_k": 9})
    asked = painter.asked(Prompt("a cat", seed), two, two, {"guidance": guidance, "top_k": top_k})
    assert asked == own and type(asked.prompt.seed) is int
    assert {type(value) for value in asked.settings.values()} <= {int, float}
    kept = painter.paint("a cat", seed=seed, candidates=two, keep=two, guidance=guidance, top_k=top_k)
    assert to_json(picture_facts("a cat", kept[0], painter.facts(asked.settings)))


def test_what_is_no_picture_is_not_ranked() -> None:
    """Colours from 0 to 1 were ranked, as if all but black."""
    painter, prompt, shown = random_painter(), Prompt("a cat"), np.zeros((16, 16, 3), np.uint8)
    wrong: Any
    for wrong in (shown / 255, shown[..., 0], shown[..., :1], shown.tolist(), shown[:0]):
        with pytest.raises(UsageError, match=r"a picture must be a NumPy array uint8 \[height, width, 3\]"):
            painter.rank(prompt, [shown, wrong])
    with pytest.raises(UsageError, match="must have one size"):
        painter.rank(prompt, [shown, shown[:8]])
    assert painter.rank(prompt, []) == []
    assert len(painter.rank(prompt, iter([shown, shown]))) == 2  # type: ignore[arg-type]


def test_pictures_are_found_in_lists() -> None:
    one, other = random_painter().paint("a cat", candidates=2, keep=2)
    assert one != other and [one, other].index(other) == 1 and len({one, other}) == 2


def test_what_is_asked_holds_the_settings() -> None:
    painter = random_painter()
    asked = painter.asked(Prompt(*PROMPTS[0]), 3, 2, {"temperature": 0.5})
    usual = painter.asked(Prompt(*PROMPTS[0]), 3, 2)
    assert (asked.candidates, asked.keep, asked.settings["temperature"]) == (3, 2, 0.5)
    assert asked.settings == dict(usual.settings) | {"temperature": 0.5}
    with pytest.raises(UsageError, match="no setting 'magic'"):
        painter.asked(Prompt(*PROMPTS[0]), 1, 1, {"magic": 1})


def test_progress_of_many_prompts_rises_over_all_of_them() -> None:
    shares: list[float] = []
    random_painter().paint_many(PROMPTS, candidates=1, watch=lambda done: shares.append(done.share))
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(set(shares)) > 5


def test_prompts_that_end_together_end_the_progress() -> None:
    """Two that are ranked in one call of two lanes: the second was done before anybody waited for it."""
    worker, shares = FunctionWorker(lambda items: [[0] for _ in items], tile=2), list[float]()
    engine = Engine(Graph([Stage("it", worker)], {}))
    jobs = [Job([(("it",), None)]) for _ in range(2)]
    found = collect_results(lambda watch: run_jobs(engine, jobs, watch), 2, lambda done: shares.append(done.share))
    assert found == [[0], [0]] and shares == [0.5, 1.0]


def test_pictures_that_were_taken_are_not_kept() -> None:
    taken: list[weakref.ref[Any]] = []
    for (one,) in random_painter().paint_each(PROMPTS, candidates=1):
        assert not any(before() is not None for before in taken)
        taken.append(weakref.ref(one.picture))
        del one
    assert len(taken) == len(PROMPTS)
