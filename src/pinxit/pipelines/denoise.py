"""Diffusion sampling as a worker: items share calls of a denoiser, each with a sampler and a noise level of its own.

A sampler is a coroutine that asks for one denoised picture at a time (`functional.samplers`). Each item runs one, and a
step answers the queries of all, T rows a call of the network: one row an item, and an unconditional one if it is
guided. All state is in the items, so that they can pause between steps. Samples have any shape: a picture [C, H, W] in
[-1, 1], an embedding [E].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.clip_guidance import ClipGuidance
from pinxit.functional.guidance import Thresholding, guide, threshold
from pinxit.functional.samplers import SAMPLERS, Denoised, Query, Sampler
from pinxit.functional.sampling import normals
from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import ParallelExecutor, SerialExecutor, items_that_fit

Conditions = dict[str, Tensor]
"""A network's conditions by name: tensors of one sample, or with a leading axis of rows."""


class Denoiser(Protocol):
    """What the worker needs of a network; no row of a call may depend on another."""

    shape: tuple[int, ...]  # of one sample: C, H, W of a picture, E of an embedding
    device: torch.device

    def __call__(self, x: Tensor, sigma_R: Tensor, conditions: Conditions, /) -> Denoised:
        """Clean samples [R, *shape] from x = x0 + sigma n; `conditions` have a leading axis of R rows."""
        ...

    def check(self, conditions: Conditions, /) -> None:
        """Raise UsageError if conditions of one sample do not fit: one is missing, unknown or misshapen."""
        ...


@dataclass(frozen=True)
class DenoiseRequest:
    """One picture to draw: a function of (conditions, seed, candidate) and the settings."""

    conditions: Conditions
    null: Conditions  # the unconditional ones, of the same names and shapes, for guidance
    sigmas: tuple[float, ...]  # noise-to-signal ratios: descending, the last usually 0; of an inversion ascending
    sampler: str = "ddim"
    seed: int = 0
    candidate: int = 0
    stage: int = 0  # of a cascade: each draws noise of its own
    guidance: float = 1.0  # classifier-free guidance; 1 is none
    thresholding: Thresholding = field(default_factory=Thresholding)
    towards: ClipGuidance | None = None  # moves each thresholded prediction; None: it stays where it is
    start: Tensor | None = None  # x = x0 + sigma n at the first level, of the denoiser's shape; None: noise alone
    options: Mapping[str, float] = field(default_factory=dict)  # its own, as eta or churn (`SamplingMethod.options`)
    about: Any = None  # passed through for `finish`

    @property
    def rows(self) -> int:
        """Two where it is guided."""
        return 1 if self.guidance == 1 else 2


@dataclass(eq=False)
class SamplerState:
    """The state of a request: its sampler, and the query that the sampler waits to have answered."""

    request: DenoiseRequest
    sampler: Sampler
    query: Query
    branches: list[Conditions]  # of its rows: conditional, then unconditional
    evaluations: int = 0
    seen: Tensor | None = None  # the latest prediction of the clean sample
    drawn: Tensor | None = None  # the sample, when the sampler has ended


@dataclass(frozen=True)
class Row:
    """One row of a call."""

    query: Query
    conditions: Conditions


class DenoiseWorker:
    """Draws an item's `DenoiseRequest`; its result is `finish(request, sample)`.

    `tile`: rows of a call of the network, always exactly that many, as the last bits of a result may depend on it;
    as many tiles run in parallel as there are lanes.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        tile: int,
        lanes: ParallelExecutor | None = None,
        finish: Callable[[DenoiseRequest, Tensor], Any] = lambda request, sample: sample,
    ) -> None:
        self.denoiser, self.most, self.lanes, self.finish = denoiser, tile, lanes or SerialExecutor(), finish
        self.width = max(2, tile * self.lanes.count)
        self.warm = False

    def rows(self, item: WorkItem) -> int:
        """Two where it is guided."""
        request: DenoiseRequest = item.value
        return request.rows

    def fits(self, item: WorkItem) -> bool:
        """Always: nothing is kept between calls."""
        return True

    def tile(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """As many as there are rows for."""
        return list(items_that_fit(self, items))

    def begin(self, item: WorkItem) -> SamplerState:
        """Draw the noise, and start the sampler up to its first query. Raises UsageError for settings out of range."""
        (state,) = self.lanes.run([partial(self._begin, item.value)])
        assert isinstance(state, SamplerState)
        return state

    def step(self, states: Sequence[SamplerState]) -> None:
        """One evaluation for each: answer its sampler's query."""
        queries = [Row(state.query, conditions) for state in states for conditions in state.branches]
        answers = iter(self._evaluate(queries))
        predictions = [[next(answers) for _ in state.branches] for state in states]
        self.lanes.run([partial(self._answer, state, rows) for state, rows in zip(states, predictions, strict=True)])

    def done(self, state: SamplerState) -> bool:
        """Whether its sampler has ended."""
        return state.drawn is not None

    def result(self, state: SamplerState) -> Any:
        """What `finish` makes of the sample."""
        assert state.drawn is not None
        return self.finish(state.request, state.drawn)

    def end(self, state: SamplerState) -> None:
        """Nothing to give back."""

    def progress(self, state: SamplerState) -> float:
        """The share of evaluations that are done."""
        request = state.request
        total = SAMPLERS[request.sampler].evaluations(len(request.sigmas) - 1, request.sigmas[-1] == 0, request.options)
        return state.evaluations / total

    def preview(self, state: SamplerState) -> Any:
        """A preview: what `finish` makes of the latest predicted clean sample; None before the first step."""
        return None if state.seen is None else self.finish(state.request, state.seen)

    @torch.inference_mode()
    def _begin(self, request: DenoiseRequest) -> SamplerState:
        self._check(request)
        device = self.denoiser.device
        draws = normals(request.seed, request.candidate, request.stage, self.denoiser.shape)
        # Unit variance in the network's scale, x_T ~ N(0, 1), as variance-preserving networks are sampled.
        start = next(draws).to(device) * math.hypot(1.0, request.sigmas[0])
        if request.start is not None:  # the noise is drawn nevertheless, so that later draws do not change
            start = request.start.to(start)
        method = SAMPLERS[request.sampler]
        sampler = method.run(start, request.sigmas, lambda: next(draws).to(device), **request.options)
        branches = [request.conditions, request.null][: request.rows]
        moved: list[Conditions] = [{name: tensor.to(device) for name, tensor in one.items()} for one in branches]
        return SamplerState(request, sampler, next(sampler), moved)

    def _evaluate(self, rows: Sequence[Row]) -> list[Denoised]:
        """The network's answer for each row; rows whose conditions have the same names and shapes share calls."""
        by_shape: dict[Any, list[int]] = {}
        for place, row in enumerate(rows):
            by_shape.setdefault(frozenset(_shapes(row.conditions).items()), []).append(place)
        tiles = [some[k : k + self.most] for some in by_shape.values() for k in range(0, len(some), self.most)]
        calls = [partial(self._call, [rows[place] for place in tile]) for tile in tiles]
        first = [] if self.warm else self.lanes.run(calls[:1])  # the network may be packed at its first call
        self.warm = True
        replies = [*first, *self.lanes.run(calls[len(first) :])]
        answers = {
            place: one for tile, some in zip(tiles, replies, strict=True) for place, one in zip(tile, some, strict=True)
        }
        return [answers[place] for place in range(len(rows))]

    @torch.inference_mode()
    def _call(self, rows: Sequence[Row]) -> list[Denoised]:
        """A call of one tile, padded with copies of its first row."""
        full, device = [*rows, *[rows[0]] * (self.most - len(rows))], self.denoiser.device
        x = torch.stack([row.query.x for row in full])
        sigma = torch.tensor([row.query.sigma for row in full], dtype=x.dtype, device=device)
        conditions = {name: torch.stack([row.conditions[name] for row in full]) for name in rows[0].conditions}
        denoised = self.denoiser(x, sigma, conditions)
        fractions = [None] * len(full) if denoised.fraction is None else list(denoised.fraction)
        return [Denoised(x0, fraction) for x0, fraction in zip(denoised.x0, fractions, strict=True)][: len(rows)]

    @torch.inference_mode()
    def _answer(self, state: SamplerState, rows: Sequence[Denoised]) -> None:
        clean, request = rows[0].x0, state.request
        if len(rows) > 1:
            clean = guide(clean, rows[1].x0, request.guidance)
        if not torch.isfinite(clean.sum()):
            raise ArithmeticError("the network gave numbers that are not finite")
        state.seen = threshold(clean[None], request.thresholding)[0]
        if request.towards is not None:
            state.seen = request.towards(state.seen, state.query.sigma)
        state.evaluations += 1
        try:
            state.query = state.sampler.send(Denoised(state.seen, rows[0].fraction))
        except StopIteration as ended:
            state.drawn = ended.value

    def _check(self, request: DenoiseRequest) -> None:
        if request.sampler not in SAMPLERS:
            raise UsageError(f"there is no sampler '{request.sampler}'; choose from {', '.join(SAMPLERS)}.")
        if not 0 <= request.guidance < math.inf:
            raise UsageError(f"guidance must be at least 0 and finite, not {request.guidance}.")
        SAMPLERS[request.sampler].check(request.sigmas, request.options)
        self.denoiser.check(request.conditions)
        conditions, null = map(_shapes, (request.conditions, request.null))
        if request.rows > 1 and conditions != null:
            raise UsageError(f"guidance leads from {_listed(null)} to {_listed(conditions)}: both must be the same.")
        if request.start is not None:
            given, expected = tuple(request.start.shape), tuple(self.denoiser.shape)
            if given != expected:
                raise UsageError(f"the start has the shape {given}; what is drawn here has {expected}.")
            if not request.start.isfinite().all():
                raise UsageError("the start holds numbers that are not finite.")


def _shapes(conditions: Conditions) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in conditions.items()}


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "nothing"
