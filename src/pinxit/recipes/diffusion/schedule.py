"""What a network predicts, and its noise schedule: one config for training and for painting.

Samplers work on x = x0 + sigma n; the network sees the variance-preserving z (Imagen, section 2.1) and a time. Shapes:
B rows, T steps of a discrete schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.diffusion import Level, Prediction, Schedule, betas, even_sigmas, sigma_at, time_of_sigma
from pinxit.functional.posterior import ScheduleCoefficients
from pinxit.functional.respacing import descending_sigmas, kept_timesteps, nearest_timestep
from pinxit.schema import Finite, NotNegative, Positive, Whole, check_fields

Weight = Literal["own", "v"]
Variance = Literal["fixed", "learned"]
Spread = Literal["strides", "ends"]

TIMES = 1000.0  # continuous times in [0, 1] are scaled by this for the network's time embedding
MOST_WHOLE = 0.9  # share of a discrete schedule that sampling at whole strides must reach
RAREST = 1e-4  # probability at which a normal draw's tails are cut: 3.7 standard deviations


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """The prediction target of a network, its loss weighting, its variance and its noise schedule."""

    prediction: Prediction = "eps"  # the target; eps is the paper's, v is steadier for small nets and few steps
    weight: Weight = "own"  # of the loss over noise levels: own is unweighted, v is the v-equivalent weighting
    schedule: Schedule = "cosine"  # linear for the last stage of the paper
    shift: Positive = 1.0  # factor on the schedule's sigma, above 1 for pictures that stay recognisable in much noise
    p_mean: Finite = 0.0  # mean of ln sigma, where training draws it from a normal distribution (EDM, table 1)
    p_std: NotNegative = 0.0  # its standard deviation; 0: training draws uniformly in time
    variance: Variance = "fixed"  # of a reverse step; learned: predicted in as many more channels (Improved DDPM)
    steps: Whole = 0  # of a discrete schedule, whose step 0 .. steps - 1 is the network's time; 0: continuous
    spread: Spread = "strides"  # fewer sampling steps than `steps`: at equal strides from step 0, or with both ends

    def __post_init__(self) -> None:
        check_fields(self, "diffusion")
        if self.steps == 1:
            raise UsageError(f"diffusion.steps must be 0 or at least 2, not {self.steps}.")
        if self.steps and (self.shift != 1 or self.p_std):
            raise UsageError(f"diffusion.steps={self.steps} is a discrete schedule: it takes no shift and no p_std.")
        if self.spread == "ends" and not self.steps:
            raise UsageError("diffusion.spread=ends is of a discrete schedule: set diffusion.steps, such as 1000.")
        if self.variance == "learned" and not (self.prediction == "eps" and self.weight == "own" and self.steps):
            needs = "prediction=eps, weight=own and the steps of a discrete schedule, such as 1000"
            raise UsageError(f"diffusion.variance=learned needs {needs}.")
        if self.steps:
            betas(self.schedule, self.steps)  # raises UsageError for too few

    @property
    def table(self) -> ScheduleCoefficients:
        """The coefficients of the discrete schedule at each of its T steps."""
        assert self.steps, "a continuous schedule has no steps"
        return _table(self.schedule, self.steps)

    def timesteps(self, time: Level) -> Tensor:
        """The step of the discrete schedule at `time` in [0, 1], int64 of time's shape."""
        time = torch.as_tensor(time, dtype=torch.float64)
        return (time * self.steps).long().clamp(max=self.steps - 1)

    def drawn(self, even: Tensor) -> Tensor:
        """sigma in training for uniform random numbers in [0, 1), float64 of their shape."""
        if not self.p_std:
            return self.sigma_at(even)
        normal = torch.special.ndtri(even.clamp(RAREST, 1 - RAREST))
        return torch.exp(self.p_mean + self.p_std * normal)

    def sigma_at(self, time: Level) -> Tensor:
        """sigma at `time` in [0, 1], float64 of time's shape.

        Shifted log-SNR: arXiv 2301.11093 ("simple diffusion").
        """
        if self.steps:
            t = self.timesteps(time)
            return self.table.sigma.to(t.device)[t]
        return self.shift * sigma_at(self.schedule, time)

    def time_of(self, sigma_B: Tensor) -> Tensor:
        """The network's time input for noise levels, float32 [B]; on a discrete schedule the nearest step."""
        if self.steps:
            return nearest_timestep(self.table.sigma.to(sigma_B.device), sigma_B).float()
        return TIMES * time_of_sigma(self.schedule, sigma_B).float()

    def check_steps(self, name: str, steps: int) -> None:
        """Raise UsageError where the setting `name` asks for more steps than a discrete schedule has."""
        if self.steps and steps > self.steps:
            raise UsageError(f"{name}={steps} must be at most {self.steps}, as many as its network's schedule has.")

    def even_sigmas(self, steps: int) -> list[float]:
        """`steps` + 1 sigmas, the last one 0: at evenly spaced times, or on a discrete schedule as `spread` says.

        Raises UsageError for more steps than a discrete schedule has.
        """
        if not self.steps:
            return [self.shift * sigma for sigma in even_sigmas(self.schedule, steps)]
        if not 1 <= steps <= self.steps:
            raise UsageError(f"steps must be from 1 to {self.steps}, as many as the schedule has, not {steps}.")
        if self.spread == "ends":  # a single step is the noisiest
            distance = (self.steps - 1) / max(steps - 1, 1)
            kept = [round(distance * place) for place in range(steps)] if steps > 1 else [self.steps - 1]
            return descending_sigmas(self.table.sigma, kept)
        stride: float = self.steps // steps  # whole, as the published pipelines count
        if stride * steps < MOST_WHOLE * self.steps:  # it would leave out the noisiest: of 1000 steps for 600 400
            stride = self.steps / steps  # DDIM's (arXiv 2010.02502, appendix D.3)
        return descending_sigmas(self.table.sigma, [int(stride * place) for place in range(steps)])

    def spaced_sigmas(self, spacing: str) -> list[float]:
        """The sigmas of the timesteps of `spacing` ("smart100", "10,10,3,2,2": `respacing.kept_timesteps`), then 0.

        Raises UsageError for a spacing that is not understood, and where the schedule is continuous.
        """
        if not self.steps:
            raise UsageError(
                f"spacing '{spacing}' names timesteps, and this network's schedule is continuous: give steps."
            )
        return descending_sigmas(self.table.sigma, kept_timesteps(spacing, self.steps))


@cache
def _table(schedule: Schedule, T: int) -> ScheduleCoefficients:
    return ScheduleCoefficients.of(betas(schedule, T))
