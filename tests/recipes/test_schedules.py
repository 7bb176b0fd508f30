"""Real recipes in the engine: whoever comes, goes and breaks beside it, a job's pictures are those of its solo run."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from pinxit.api import load
from pinxit.pipelines.engine import Engine
from pinxit.pipelines.work import Job
from pinxit.recipes.painting import Painter
from pinxit.recipes.requests import PaintRequest
from pinxit.types import Prompt, Ranked
from tests.recipes.painters import random_painter

FEW, MANY = 4, 500  # schedules


def digest(kept: Sequence[Ranked]) -> str:
    """Of pictures, candidates and scores."""
    told = hashlib.sha256()
    for one in kept:
        told.update(one.picture.tobytes() + repr((one.seed, one.candidate, one.score)).encode())
    return told.hexdigest()


Solo = tuple[Painter, list[PaintRequest], list[str]]
"""A painter, requests, and the digest of what each paints alone."""


def requests(painter: Painter, changes: Sequence[dict[str, Any]]) -> list[PaintRequest]:
    prompts = ["a red square", "two blue stars", "a cat and a dog"]
    return [
        PaintRequest(Prompt(prompts[k % 3], seed=k // 2), 1 + k % 4, 1 + k % 2, painter.defaults | some)
        for k, some in enumerate(changes)
    ]


def job(painter: Painter, asked: PaintRequest, **about: Any) -> Job:
    route, upsampler = list(painter.graph.routes["paint"]), getattr(painter, "upsampler", None)
    route += upsampler.graph.routes["enlarge"] if upsampler else ()
    return Job([(route, None)], asked, **about)


def engine_of(painter: Painter) -> Engine:
    upsampler = getattr(painter, "upsampler", None)
    return Engine(painter.graph if upsampler is None else painter.graph.joined_with(upsampler.graph))


def alone(painter: Painter, asked: PaintRequest) -> str:
    engine, one = engine_of(painter), job(painter, asked)
    engine.submit(one)
    while engine.turn():
        pass
    assert one.outcome and one.outcome.kind == "done", one.outcome
    return digest(one.outcome.data)


def schedule(painter: Painter, asked: Sequence[PaintRequest], expected: Sequence[str], seed: int) -> None:
    """Jobs come at random turns from random clients, a third are cancelled on the way, and one call breaks."""
    dice, engine = random.Random(seed), engine_of(painter)
    order = [dice.randrange(len(asked)) for _ in range(dice.randint(2, 5))]
    jobs = [job(painter, asked[k], client=dice.choice("abc"), weight=dice.choice((1.0, 4.0))) for k in order]
    due = sorted((dice.randint(0, 25), number, what) for number in range(len(jobs)) for what in ("come",))
    due += [(turn + dice.randint(1, 20), number, "go") for turn, number, _ in due if dice.random() < 0.3]
    worker = engine.graph[
        dice.choice([name for name, stage in engine.graph.stages.items() if stage.weight == 1])
    ].worker
    fault, calls, step = dice.randint(0, 30), 0, worker.step

    def once_broken(states: Any) -> None:
        nonlocal calls
        calls += 1
        step(states)
        if calls == fault:
            raise OSError("a call broke")

    worker.step = once_broken  # type: ignore[method-assign]
    try:
        for turn in range(100_000):
            for at, number, what in due:
                if at == turn:
                    (engine.submit if what == "come" else engine.cancel)(jobs[number])
            if not engine.turn() and turn > max(at for at, _, _ in due):
                break
    finally:
        worker.step = step  # type: ignore[method-assign]
    gone = {number for _, number, what in due if what == "go"}
    for number, (k, one) in enumerate(zip(order, jobs, strict=True)):
        assert one.outcome and (one.outcome.kind == "done" or number in gone), one.outcome
        if one.outcome.kind == "done":
            assert digest(one.outcome.data) == expected[k], f"schedule {seed}, job {number}"


@contextmanager
def two_lanes() -> Iterator[None]:
    """A painter whose graph is made in here draws in two lanes, whatever tests usually compute with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def dalle() -> Solo:
    with two_lanes():
        painter = random_painter()
        assert len(painter.graph["tokens"].worker.tiles) == 2  # type: ignore[attr-defined]
    changes: list[dict[str, Any]] = [
        {},
        {"guidance": 3.0},
        {"top_k": 5},
        {"temperature": 0.0},
        {"guidance": 2.0, "top_p": 0.8},
        {},
    ]
    asked = requests(painter, changes)
    return painter, asked, [alone(painter, one) for one in asked]


@pytest.mark.parametrize("seed", range(FEW))
def test_dalle_paints_the_same_in_any_schedule(seed: int) -> None:
    schedule(*dalle(), seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_dalle_paints_the_same_in_500_schedules() -> None:
    for seed in range(MANY):
        schedule(*dalle(), seed)


@pytest.fixture(scope="module")
def imagen(tmp_path_factory: pytest.TempPathFactory) -> Solo:
    pytest.importorskip("transformers")
    from tests.recipes.imagens import save_random_imagen

    folder: Path = save_random_imagen(tmp_path_factory.mktemp("imagen") / "nano")
    with two_lanes():
        painter = load(folder, device="cpu")
        engine_of(painter)
    changes: list[dict[str, Any]] = [
        {"steps": 3}, {"steps": 4, "guidance": 1.0}, {"steps": 2, "sampler": "heun"}, {"steps": 3, "percentile": 0.9},
        {"steps": 3, "sampler": "ancestral"}, {"steps": 1},
    ]  # fmt: skip
    asked = requests(painter, changes)
    return painter, asked, [alone(painter, one) for one in asked]


@pytest.mark.parametrize("seed", range(FEW))
def test_imagen_paints_the_same_in_any_schedule(imagen: Solo, seed: int) -> None:
    schedule(*imagen, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_imagen_paints_the_same_in_500_schedules(imagen: Solo) -> None:
    for seed in range(MANY):
        schedule(*imagen, seed)


@pytest.fixture(scope="module")
def unclip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Painter, list[PaintRequest], list[str]]:
    pytest.importorskip("transformers")
    from tests.recipes.unclips import save_random_unclip

    painter = load(save_random_unclip(tmp_path_factory.mktemp("unclip") / "nano"), device="cpu")
    changes: list[dict[str, Any]] = [
        {"steps": 3, "prior_steps": 3}, {"steps": 2, "prior": "components"}, {"steps": 2, "guidance": 1.0},
        {"steps": 3, "prior": "components", "prior_guidance": 2.0, "tries": 3},
        {"steps": 2, "sampler": "ancestral", "prior_guidance": 3.0, "prior_sampler": "heun"},
        {"steps": 2, "prior": "none", "text": False},
    ]  # fmt: skip
    asked = requests(painter, changes)
    return painter, asked, [alone(painter, one) for one in asked]


@pytest.mark.parametrize("seed", range(FEW))
def test_unclip_paints_the_same_in_any_schedule(
    unclip: tuple[Painter, list[PaintRequest], list[str]], seed: int
) -> None:
    assert len(set(unclip[2])) == len(unclip[2]), "settings that make no difference would prove nothing"
    schedule(*unclip, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_unclip_paints_the_same_in_500_schedules(unclip: tuple[Painter, list[PaintRequest], list[str]]) -> None:
    for seed in range(MANY):
        schedule(*unclip, seed)
