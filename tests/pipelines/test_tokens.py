"""Pictures code by code: drawn as the model says, the same in any company, around what is given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.masks import Attention
from pinxit.functional.sampling import uniforms
from pinxit.models.decoder import CachedDecoder
from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.pipelines.engine import Engine
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.run import run
from pinxit.pipelines.token_tile import UNKNOWN, TokenRequest, TokenResult
from pinxit.pipelines.tokens import TokenWorker, rows_of
from pinxit.pipelines.work import Job, WorkItem
from pinxit.pipelines.worker import SerialExecutor

K, GRID, L = 30, 4, 5
N = GRID * GRID


class Parrot:
    """A decoder whose logits are random numbers keyed by a row's text and every code fed to it since, in order.

    Whatever a worker mixes up between rows, feeds twice or leaves out changes everything that follows.
    """

    slots: int
    text_tokens, grid, codes, device = L, GRID, K, torch.device("cpu")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.fed: list[tuple[int, ...]] = [()] * slots
        self.rows: list[int] = []  # of every call

    def beside(self) -> Parrot:
        return Parrot(self.slots)

    def widths(self, candidates: Sequence[int]) -> tuple[int, ...]:
        return (*(width for width in candidates if width < self.slots), self.slots)

    def prefill(self, slots: Sequence[int], text_BL: Tensor) -> Tensor:
        for slot, text in zip(slots, text_BL.tolist(), strict=True):
            self.fed[slot] = tuple(text)
        return torch.stack([logits_after(self.fed[slot]) for slot in slots])

    def step(self, tokens_S: Tensor, positions_S: Tensor) -> Tensor:
        assert positions_S.max() < N - 1 and len(tokens_S) <= self.slots
        self.rows.append(len(tokens_S))
        for slot, (token, position) in enumerate(zip(tokens_S.tolist(), positions_S.tolist(), strict=True)):
            if self.fed[slot] and len(self.fed[slot]) == L + position:
                self.fed[slot] += (token,)
        return torch.stack([logits_after(fed) for fed in self.fed[: len(tokens_S)]])


def logits_after(fed: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(fed).normal(0, 2, K).astype(np.float32))


def text(*ids: int) -> Tensor:
    return torch.tensor([*ids, *[0] * (L - len(ids))])


def drawn_by_hand(request: TokenRequest) -> Tensor:
    """The codes of a request by the definition, one number at a time, for temperature and guidance only."""
    u = uniforms(request.seed, request.candidate, N)
    codes: list[int] = []
    for p in range(N):
        c = logits_after((*request.text.tolist(), *codes)).double()
        e = logits_after((*[0] * L, *codes)).double()
        chance = ((e + request.guidance * (c - e)) / request.temperature).softmax(0)
        codes.append(int((chance.cumsum(0) <= float(u[p])).sum()))
    return torch.tensor(codes).view(GRID, GRID)


def many(count: int) -> list[TokenRequest]:
    """Requests of all sorts."""
    given = torch.full((GRID, GRID), UNKNOWN)
    given[:2] = torch.arange(8).view(2, 4)
    return [
        TokenRequest(
            text(*range(1, number % 4 + 1)),
            seed=number // 3,
            candidate=number % 3,
            temperature=(1.0, 0.8, 0.0)[number % 3],
            top_k=(0, 7)[number % 2],
            top_p=(1.0, 0.9, 1.0, 1.0)[number % 4],
            guidance=(1.0, 3.0)[number // 2 % 2],
            known=given if number % 5 == 0 else None,
        )
        for number in range(count)
    ]


def same(one: Sequence[TokenResult], other: Sequence[TokenResult]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(torch.equal(a.codes, b.codes) and a.log_likelihood == b.log_likelihood for a, b in pairs)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_codes_are_those_of_the_definition(guidance: float, temperature: float) -> None:
    requests = [TokenRequest(text(1, 2), 3, number, temperature, guidance=guidance) for number in range(3)]
    for request, result in zip(requests, run(TokenWorker(Parrot(8)), requests), strict=True):
        assert torch.equal(result.codes, drawn_by_hand(request))


def test_guidance_of_one_needs_no_second_row() -> None:
    requests = [replace(request, guidance=1.0) for request in many(6)]
    assert same(run(TokenWorker(Parrot(8)), requests), run(TokenWorker(Parrot(3)), requests))


def test_same_request_same_codes_alone_in_a_crowd_and_in_any_order() -> None:
    requests = many(12)
    crowd = run(TokenWorker(Parrot(10)), requests)
    assert same(crowd, run(TokenWorker(Parrot(10)), requests[::-1])[::-1])
    assert same(crowd, run(TokenWorker(Parrot(2)), requests))
    worker = TokenWorker(Parrot(10))
    assert same(crowd, [run(worker, [request])[0] for request in requests])
    assert same(crowd, run(TokenWorker(Parrot(4), TwoByTwo()), requests)), "in tiles side by side"
    for codes in (1, 3, 99):
        assert same(crowd, run(TokenWorker(Parrot(6), codes=codes), requests)), "with other numbers of codes a call"
    assert len({tuple(result.codes.flatten().tolist()) for result in crowd}) == 12


class TwoByTwo(SerialExecutor):
    """Two tiles, one after the other."""

    count = 2


def test_joining_late_and_leaving_early_change_nothing() -> None:
    one, other, third = many(5)[2:]
    worker, jobs = TokenWorker(Parrot(4), codes=1), [Job([(("it",), request)]) for request in (one, other, third)]
    engine = Engine(Graph([Stage("it", worker)], {}))
    engine.submit(jobs[0])
    for _ in range(5):
        engine.turn()
    assert engine.share(jobs[0]) == 5 / N
    engine.submit(jobs[2])
    engine.turn()
    engine.submit(jobs[1])
    for _ in range(3):
        engine.turn()
    engine.cancel(jobs[2])
    while engine.turn():
        pass
    results = [job.results[(0,)] for job in jobs[:2]]
    assert same(results, run(TokenWorker(Parrot(4)), [one, other]))
    assert jobs[2].outcome and jobs[2].outcome.kind == "cancelled"
    assert [len(tile.free) for tile in worker.tiles] == [4], "all rows are free again"


def test_what_takes_no_part_in_a_step_stands_still() -> None:
    """An item that failed in company steps alone; those beside it must not go on, nor be fed anything new."""
    worker, requests = TokenWorker(Parrot(8)), many(3)
    items = [WorkItem(Job([]), ("it",), 0, (k,), request) for k, request in enumerate(requests)]
    states = [worker.begin(item) for item in items]
    worker.step(states[:1])  # the others have not even begun
    while not worker.done(states[0]):
        worker.step(states[:1])
        worker.step(states[:2] if not worker.done(states[0]) and not worker.done(states[1]) else states[2:])
    for state in states[1:]:
        while not worker.done(state):
            worker.step([state])
    assert same([worker.result(state) for state in states], run(TokenWorker(Parrot(8)), requests))


def test_only_rows_in_use_are_computed() -> None:
    decoder = Parrot(16)
    worker = TokenWorker(decoder)
    for count, rows in ((1, 2), (2, 4), (3, 8), (5, 12), (8, 16)):
        decoder.rows.clear()
        run(worker, [TokenRequest(text(1), candidate=k, guidance=2.0) for k in range(count)])
        assert set(decoder.rows) == {rows} and len(decoder.rows) == N - 1, "the last code is never fed"
    decoder.rows.clear()
    run(worker, [TokenRequest(text(1))])
    assert set(decoder.rows) == {1}, "without guidance there is no second row"


def test_tiles_are_filled_evenly() -> None:
    worker = TokenWorker(Parrot(8), TwoByTwo())
    items = [WorkItem(Job([]), ("it",), 0, (k,), request) for k, request in enumerate(many(20))]
    chosen = worker.tile(items)
    for item in chosen:
        assert worker.fits(item)
        item.state = worker.begin(item)
    assert max(len(tile.free) for tile in worker.tiles) <= 1
    assert len(worker.tile([*chosen, *(item for item in items if item.state is None)])) == len(chosen)


def test_a_guided_picture_is_drawn_beside_ever_more_of_others_that_need_one_row() -> None:
    """They never end two at a time: whoever needs two rows is kept the first that becomes free."""
    engine = Engine(Graph([Stage("it", TokenWorker(Parrot(4), codes=1))], {}), clock=itertools.count().__next__)

    def ask(client: str, guidance: float = 1.0) -> Job:
        job = Job([(("it",), TokenRequest(text(1), guidance=guidance))], client=client)
        engine.submit(job)
        return job

    busy = {}
    for client in "abcd":
        busy[client] = ask(client)
        for _ in range(N // 4):
            engine.turn()
    guided = ask("guided", 2.0)
    for _ in range(4 * N):
        engine.turn()
        busy |= {client: ask(client) for client, job in busy.items() if job.outcome is not None}
    assert guided.outcome is not None and guided.outcome.kind == "done"


def test_partial_codes_grow_in_raster_order() -> None:
    seen: list[tuple[int, Tensor]] = []

    def look(engine: Engine, job: Job) -> None:
        seen.extend((item.state.drawn, worker.preview(item.state)) for item in engine.started)

    worker = TokenWorker(Parrot(2), codes=1)
    (result,) = run(worker, [many(2)[1]], look)
    assert [drawn for drawn, _ in seen] == list(range(1, N))
    for drawn, codes in seen:
        assert (codes.flatten() == UNKNOWN).nonzero().flatten().tolist() == list(range(drawn, N))
        assert torch.equal(codes.flatten()[:drawn], result.codes.flatten()[:drawn])


def test_what_is_not_a_number_fails_alone_and_leaves_no_trace() -> None:
    class Sick(Parrot):
        def step(self, tokens_S: Tensor, positions_S: Tensor) -> Tensor:
            logits = super().step(tokens_S, positions_S)
            for row, fed in enumerate(self.fed[: len(tokens_S)]):
                if fed[:1] == (9,):
                    logits[row] = math.nan
            return logits

    engine = Engine(Graph([Stage("it", TokenWorker(Sick(8)))], {}))
    jobs = [Job([(("it",), TokenRequest(text(k), k))]) for k in (1, 9, 2)]
    for job in jobs:
        engine.submit(job)
    while engine.turn():
        pass
    assert [job.outcome.kind for job in jobs if job.outcome] == ["done", "failed", "done"]
    well = [job.results[(0,)] for job in (jobs[0], jobs[2])]
    assert same(well, run(TokenWorker(Parrot(8)), [TokenRequest(text(k), k) for k in (1, 2)]))


@pytest.mark.parametrize(("hole", "behind"), [((slice(2, 4), slice(0, 4)), 0), ((slice(1, 3), slice(1, 3)), 7)])
def test_known_codes_stay_and_what_follows_the_hole_is_scored(hole: tuple[slice, slice], behind: int) -> None:
    """A rectangle to the bottom edge leaves nothing to score; an inner one leads on to known codes."""
    full = torch.randint(0, K, (GRID, GRID), generator=torch.Generator().manual_seed(0))
    known = full.clone()
    known[hole] = UNKNOWN
    requests = [TokenRequest(text(3), 1, number, guidance=2.0, known=known) for number in range(3)]
    for result in run(TokenWorker(Parrot(6)), requests):
        assert torch.equal(result.codes[known != UNKNOWN], full[known != UNKNOWN])
        codes, expected, counted = result.codes.flatten().tolist(), 0.0, 0
        first = int((known.flatten() == UNKNOWN).nonzero()[0])
        for p in range(first, N):
            if known.flatten()[p] != UNKNOWN:
                expected += float(logits_after((*text(3).tolist(), *codes[:p])).log_softmax(0)[codes[p]])
                counted += 1
        assert counted == behind
        assert result.log_likelihood == pytest.approx(expected, rel=1e-5)


def test_known_codes_guide_what_is_drawn_after_them() -> None:
    known = torch.full((GRID, GRID), UNKNOWN)
    known[0] = torch.tensor([1, 2, 3, 4])
    free, bound = run(TokenWorker(Parrot(4)), [TokenRequest(text(3)), TokenRequest(text(3), known=known)])
    assert not torch.equal(free.codes[1:], bound.codes[1:])


def test_a_picture_known_in_full_comes_back() -> None:
    full = torch.arange(N).view(GRID, GRID)
    (result,) = run(TokenWorker(Parrot(2)), [TokenRequest(text(3), known=full)])
    assert torch.equal(result.codes, full)
    assert result.log_likelihood == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"text": torch.zeros(L + 1, dtype=torch.long)}, "5 token ids"),
        ({"known": torch.zeros(3, 3, dtype=torch.long)}, "4 x 4"),
        ({"known": torch.full((GRID, GRID), K)}, "below 30"),
        ({"temperature": -1.0}, "temperature must be at least 0 and finite, not -1.0"),
        ({"temperature": math.nan}, "temperature must be at least 0 and finite, not nan"),
        ({"guidance": math.nan}, "guidance must be at least 0 and finite, not nan"),
        ({"guidance": math.inf}, "guidance must be at least 0 and finite, not inf"),
        ({"top_p": 0.0}, "top-p"),
    ],
)
def test_impossible_requests_are_refused(wrong: dict[str, Any], message: str) -> None:
    worker = TokenWorker(Parrot(2))
    with pytest.raises(UsageError, match=message):
        run(worker, [replace(TokenRequest(text(1)), **wrong)])
    assert len(worker.tiles[0].free) == 2


def test_guidance_in_a_tile_of_one_row_is_refused() -> None:
    with pytest.raises(UsageError, match="wider"):
        run(TokenWorker(Parrot(1)), [TokenRequest(text(1), guidance=2.0)])


@pytest.fixture(params=get_args(Attention))
def model(request: pytest.FixtureRequest) -> TokenTransformer:
    config = TransformerConfig(20, L, K, GRID, 32, 4, 4, request.param, kernel=3)
    model, generator = TokenTransformer(config), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


@torch.no_grad()
def test_the_transformer_draws_what_its_own_logits_say(model: TokenTransformer) -> None:
    """Greedy codes, guided, are the argmax of the whole-stream model's logits at every position."""
    request = TokenRequest(text(1, 2, 3), temperature=0.0, guidance=2.0)
    (result,) = run(TokenWorker(CachedDecoder(model, 6, torch.float32)), [request])
    codes = result.codes.view(1, N)
    (_, c), (_, u) = model(request.text[None], codes), model(torch.zeros(1, L, dtype=torch.long), codes)
    assert torch.equal((u + 2 * (c - u)).argmax(2), codes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_transformer_draws_the_same_bits_in_any_company(model: TokenTransformer, dtype: torch.dtype) -> None:
    requests = many(7)
    crowd = run(TokenWorker(CachedDecoder(model, 6, dtype)), requests)
    worker = TokenWorker(CachedDecoder(model, 6, dtype))
    assert same(crowd, run(worker, requests[::-1])[::-1])
    assert same(crowd[:3], [run(worker, [request])[0] for request in requests[:3]])


def test_rows_forget_what_was_scored_in_them() -> None:
    known = torch.arange(N).view(GRID, GRID)
    known[1, 2] = UNKNOWN
    request = TokenRequest(text(1, 2), known=known)
    (alone,) = run(TokenWorker(Parrot(1)), [request])
    assert alone.log_likelihood < -1
    assert all(one.log_likelihood == alone.log_likelihood for one in run(TokenWorker(Parrot(1)), [request] * 3))


class Indifferent(Parrot):
    """All but as likely is every one of a hundred codes."""

    codes = 100
    logits = -1e-3 * torch.arange(100)

    def prefill(self, slots: Sequence[int], text_BL: Tensor) -> Tensor:
        return self.logits.expand(len(slots), -1)

    def step(self, tokens_S: Tensor, positions_S: Tensor) -> Tensor:
        return self.logits.expand(len(tokens_S), -1)


def test_no_top_k_is_all_codes_whoever_stands_beside() -> None:
    asked = [TokenRequest(text(1), seed) for seed in range(3)]
    *found, few = run(TokenWorker(Indifferent(4)), [*asked, TokenRequest(text(1), top_k=5)])
    until = Indifferent.logits.double().softmax(0).cumsum(0)
    for request, one in zip(asked, found, strict=True):
        expected = (until <= uniforms(request.seed, 0, N).double()[:, None]).sum(1)
        assert torch.equal(one.codes.flatten(), expected) and one.codes.max() > 64
    assert few.codes.max() == 4


@pytest.mark.parametrize(("count", "rows"), [(1, 32), (2, 16), (4, 16)])
def test_lanes_share_a_tiles_rows_down_to_sixteen(count: int, rows: int) -> None:
    lanes = SerialExecutor()
    lanes.count = count
    assert rows_of(lanes) == rows
