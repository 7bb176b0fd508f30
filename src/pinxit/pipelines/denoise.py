"""Pictures out of noise: the stepper over a denoiser, every slot at a noise level and a sampler of its own.

A sampler is a coroutine that asks for one denoised picture at a time (`functional.samplers`); each slot runs one, and a
step answers what all of them ask in one batch. Shapes: S slots, R = S or 2 S rows of the denoiser (guidance needs an
unconditional twin for every slot). What is drawn has any shape: a picture [C, H, W] in [-1, 1], an embedding [E].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.guidance import Thresholding, guide, threshold
from pinxit.functional.samplers import SAMPLERS, Denoised, Query, Sampler
from pinxit.functional.sampling import normals

Conditions = Mapping[str, Tensor]
"""What a picture is drawn for, by name: each tensor of one picture, or with a leading axis of rows."""


class Denoiser(Protocol):
    """What the stepper needs: rows that never see each other."""

    shape: tuple[int, ...]  # of one sample: C, H, W of a picture, E of an embedding
    device: torch.device

    def __call__(self, x: Tensor, sigma_R: Tensor, conditions: Conditions, /) -> Denoised:
        """Clean samples [R, *shape] from x = x0 + sigma n; `conditions` have a leading axis of R rows."""
        ...

    def check(self, conditions: Conditions, /) -> None:
        """Raise UsageError for conditions of one sample that it does not take: a missing, foreign or misshapen one."""
        ...


@dataclass(frozen=True)
class DenoiseRequest:
    """One picture to draw. (conditions, seed, candidate) and the settings name it for ever."""

    conditions: Conditions
    null: Conditions  # the same for no text at all: what guidance leads away from
    sigmas: tuple[float, ...]  # noise-to-signal ratios: descending, the last usually 0; of an inversion ascending
    sampler: str = "ddim"
    seed: int = 0
    candidate: int = 0
    stage: int = 0  # of a cascade: each has noise of its own
    guidance: float = 1.0  # classifier-free guidance; 1 is none
    thresholding: Thresholding = field(default_factory=Thresholding)
    start: Tensor | None = None  # x = x0 + sigma n at the first level, of the denoiser's shape; None: noise alone
    options: Mapping[str, float] = field(default_factory=dict)  # the sampler's own: eta, churn ... (`Method.options`)


@dataclass
class _Slot:
    """A request at work."""

    request: DenoiseRequest
    sampler: Sampler
    query: Query
    seen: Tensor  # the latest prediction of the clean sample
    evaluations: int = 0


class DenoiseStepper:
    """Draws `slots` pictures at once. With `guided`, half of the denoiser's rows run without text."""

    def __init__(self, denoiser: Denoiser, slots: int, guided: bool = True) -> None:
        self.denoiser, self.slots, self.guided = denoiser, slots, guided
        self.at_work: list[_Slot | None] = [None] * slots
        self.finished: list[tuple[int, Tensor]] = []
        self._conditions: dict[str, Tensor] = {}
        rows = slots * (2 if guided else 1)
        self._x = torch.zeros(rows, *denoiser.shape, device=denoiser.device)
        self._sigma = torch.ones(rows, device=denoiser.device)

    @property
    def free(self) -> int:
        """How many requests can be admitted now."""
        return self.at_work.count(None)

    @torch.inference_mode()
    def admit(self, request: DenoiseRequest) -> int:
        """Start a picture. Raises UsageError for settings out of range; needs a free slot."""
        self._check(request)
        slot, device = self.at_work.index(None), self.denoiser.device
        self._make_room(request.conditions)
        draws = normals(request.seed, request.candidate, request.stage, self.denoiser.shape)
        # Unit variance in the network's scale, x_T ~ N(0, 1), as variance-preserving networks are sampled.
        start = next(draws).to(device) * math.hypot(1.0, request.sigmas[0])
        if request.start is not None:  # what is drawn on the way stays the same as from noise
            start = request.start.to(start)
        method = SAMPLERS[request.sampler]
        sampler = method.run(start, request.sigmas, lambda: next(draws).to(device), **request.options)
        self.at_work[slot] = _Slot(request, sampler, next(sampler), torch.zeros_like(start))
        self._fill(slot, request.conditions)
        if self.guided:
            self._fill(self.slots + slot, request.null)
        return slot

    @torch.inference_mode()
    def step(self) -> None:
        """Answer what every occupied slot's sampler asks."""
        working = [(number, slot) for number, slot in enumerate(self.at_work) if slot and not self._done(number)]
        for number, slot in working:
            for row in (number, self.slots + number) if self.guided else (number,):
                self._x[row], self._sigma[row] = slot.query.x, slot.query.sigma
        found = self.denoiser(self._x, self._sigma, self._conditions)
        for number, slot in working:
            slot.seen = self._guided(found.x0, number, slot.request)
            fraction = None if found.fraction is None else found.fraction[number]
            slot.evaluations += 1
            try:
                slot.query = slot.sampler.send(Denoised(slot.seen, fraction))
            except StopIteration as ended:
                self.finished.append((number, ended.value))

    def collect(self) -> list[tuple[int, Tensor]]:
        """Samples finished since the last call, with their slots, which are free from now on."""
        finished, self.finished = self.finished, []
        for slot, _ in finished:
            self.cancel(slot)
        return finished

    def cancel(self, slot: int) -> None:
        """Free a slot; what it drew is lost."""
        self.at_work[slot] = None
        self.finished = [(other, result) for other, result in self.finished if other != slot]

    def progress(self, slot: int) -> float:
        """How far an occupied slot has come, 0 to 1."""
        at_work = self.at_work[slot]
        assert at_work is not None
        asked = at_work.request
        to_zero = asked.sigmas[-1] == 0
        total = SAMPLERS[asked.sampler].evaluations(len(asked.sigmas) - 1, to_zero, asked.options)
        return at_work.evaluations / total

    def partial(self, slot: int) -> Tensor:
        """What an occupied slot takes the finished sample to be so far: for previews."""
        at_work = self.at_work[slot]
        assert at_work is not None
        return at_work.seen.clone()

    def _done(self, number: int) -> bool:
        return any(other == number for other, _ in self.finished)

    def _make_room(self, conditions: Conditions) -> None:
        """Rows for conditions of these names and shapes; those at work keep theirs, and a newcomer must have the same.

        A batch has one shape, and a row that is not written would tell a newcomer what its predecessor was told.
        """
        wanted = {name: tuple(tensor.shape) for name, tensor in conditions.items()}
        settled = {name: tuple(rows.shape[1:]) for name, rows in self._conditions.items()}
        if wanted == settled:
            return
        if self.free < self.slots:
            raise UsageError(f"conditions of {_told(settled)} are at work, and {_told(wanted)} cannot join them.")
        rows, device = len(self._x), self.denoiser.device
        self._conditions = {
            name: tensor.new_zeros(rows, *tensor.shape, device=device) for name, tensor in conditions.items()
        }

    def _fill(self, row: int, conditions: Conditions) -> None:
        """Put one sample's conditions into a row."""
        for name, tensor in conditions.items():
            self._conditions[name][row] = tensor

    def _guided(self, x0: Tensor, number: int, request: DenoiseRequest) -> Tensor:
        clean = x0[number]
        if self.guided and request.guidance != 1:
            clean = guide(clean, x0[self.slots + number], request.guidance)
        return threshold(clean[None], request.thresholding)[0]

    def _check(self, request: DenoiseRequest) -> None:
        if request.sampler not in SAMPLERS:
            raise UsageError(f"there is no sampler '{request.sampler}'; choose from {', '.join(SAMPLERS)}.")
        if not 0 <= request.guidance < math.inf:
            raise UsageError(f"guidance must be at least 0 and finite, not {request.guidance}.")
        if request.guidance != 1 and not self.guided:
            raise UsageError(f"guidance {request.guidance} needs a guided stepper.")
        SAMPLERS[request.sampler].check(request.sigmas, request.options)
        self.denoiser.check(request.conditions)
        conditions, null = (
            {name: tuple(tensor.shape) for name, tensor in told.items()} for told in (request.conditions, request.null)
        )
        if self.guided and conditions != null:
            raise UsageError(f"guidance leads from {_told(null)} to {_told(conditions)}: both must be the same.")
        if request.start is not None:
            found, wanted = tuple(request.start.shape), tuple(self.denoiser.shape)
            if found != wanted:
                raise UsageError(f"the start has the shape {found}; what is drawn here has {wanted}.")
            if not request.start.isfinite().all():
                raise UsageError("the start holds numbers that are not finite.")


def _told(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "nothing"
