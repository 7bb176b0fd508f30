"""Pictures out of noise: the stepper over a denoiser, every slot at a noise level and a sampler of its own.

A sampler is a coroutine that asks for one denoised picture at a time (`functional.samplers`); each slot runs one, and a
step answers what all of them ask in one batch. Shapes: S slots, R = S or 2 S rows of the denoiser (guidance needs an
unconditional twin for every slot), C H W the picture in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.guidance import guide, threshold
from pinxit.functional.samplers import SAMPLERS, Denoised, Query, Sampler
from pinxit.functional.sampling import normals

Conditions = Mapping[str, Tensor]
"""What a picture is drawn for, by name: each tensor of one picture, or with a leading axis of rows."""


class Denoiser(Protocol):
    """What the stepper needs: rows that never see each other."""

    shape: tuple[int, int, int]  # C, H, W
    device: torch.device

    def __call__(self, x_RCHW: Tensor, sigma_R: Tensor, conditions: Conditions, /) -> Denoised:
        """Clean pictures in [-1, 1] from x = x0 + sigma n."""
        ...


@dataclass(frozen=True)
class Thresholding:
    """What becomes of predictions that leave [-1, 1] (Imagen, section 2.3)."""

    percentile: float = 0.0  # dynamic: of |x0|, what it reaches is scaled back to 1; 0: static, clipped
    most: float = math.inf  # the largest scale that is divided by (DeepFloyd IF)


@dataclass(frozen=True)
class DenoiseRequest:
    """One picture to draw. (conditions, seed, candidate) and the settings name it for ever."""

    conditions: Conditions
    null: Conditions  # the same for no text at all: what guidance leads away from
    sigmas: tuple[float, ...]  # descending noise-to-signal ratios, the last usually 0
    sampler: str = "ddim"
    seed: int = 0
    candidate: int = 0
    stage: int = 0  # of a cascade: each has noise of its own
    guidance: float = 1.0  # classifier-free guidance; 1 is none
    thresholding: Thresholding = field(default_factory=Thresholding)


@dataclass
class _Slot:
    """A request at work."""

    request: DenoiseRequest
    sampler: Sampler
    query: Query
    seen: Tensor  # the latest prediction of the clean picture, [C, H, W]
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
        draws = normals(request.seed, request.candidate, request.stage, self.denoiser.shape)
        # Unit variance in the network's scale, x_T ~ N(0, 1), as variance-preserving networks are sampled.
        start = next(draws).to(device) * math.hypot(1.0, request.sigmas[0])
        sampler = SAMPLERS[request.sampler].run(start, request.sigmas, lambda: next(draws).to(device))
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
        """Pictures [C, H, W] finished since the last call, with their slots, which are free from now on."""
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
        total = SAMPLERS[at_work.request.sampler].evaluations(len(at_work.request.sigmas) - 1)
        return min(1.0, at_work.evaluations / total)

    def partial(self, slot: int) -> Tensor:
        """What an occupied slot takes the finished picture to be so far, [C, H, W]: for previews."""
        at_work = self.at_work[slot]
        assert at_work is not None
        return at_work.seen.clone()

    def _done(self, number: int) -> bool:
        return any(other == number for other, _ in self.finished)

    def _fill(self, row: int, conditions: Conditions) -> None:
        """Put one picture's conditions into a row; the first request settles their shapes."""
        for name, tensor in conditions.items():
            if name not in self._conditions:
                self._conditions[name] = tensor.new_zeros(len(self._x), *tensor.shape, device=self.denoiser.device)
            self._conditions[name][row] = tensor

    def _guided(self, x0: Tensor, number: int, request: DenoiseRequest) -> Tensor:
        clean = x0[number]
        if self.guided and request.guidance != 1:
            clean = guide(clean, x0[self.slots + number], request.guidance)
        about = request.thresholding
        return threshold(clean, about.percentile, about.most)

    def _check(self, request: DenoiseRequest) -> None:
        if request.sampler not in SAMPLERS:
            raise UsageError(f"there is no sampler '{request.sampler}'; choose from {', '.join(SAMPLERS)}.")
        if not 0 <= request.guidance < math.inf:
            raise UsageError(f"guidance must be at least 0 and finite, not {request.guidance}.")
        if request.guidance != 1 and not self.guided:
            raise UsageError(f"guidance {request.guidance} needs a guided stepper.")
        if len(request.sigmas) < 2 or any(a <= b for a, b in zip(request.sigmas, request.sigmas[1:], strict=False)):
            raise UsageError("noise levels must descend, and there must be at least one step.")
