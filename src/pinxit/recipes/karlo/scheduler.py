"""Karlo's scheduler_config.json (diffusers' `UnCLIPScheduler`) as our noise schedule: read and checked, never executed.

That scheduler samples evenly spaced steps of a cosine schedule, the first and the last step included (`spread="ends"`),
with betas recomputed between neighbouring ones. That is our ancestral sampler.
"""

from __future__ import annotations

from pathlib import Path

from pinxit.errors import CheckpointError
from pinxit.functional.diffusion import Prediction
from pinxit.recipes.diffusion.schedule import DiffusionConfig, Variance
from pinxit.weights.schedulers import FILE, Wanted, number, scheduler_settings

_PREDICTIONS: dict[Prediction, str] = {"eps": "epsilon", "x0": "sample"}
_VARIANCES: dict[Variance, str] = {"fixed": "fixed_small_log", "learned": "learned_range"}
_STEPS = (1000, 2, 100_000)  # default, least, greatest
_RANGE = (1.0, 1e-3, 1e6)
_OTHERS = ("num_train_timesteps", "clip_sample_range")


def read_schedule(
    folder: Path, prediction: Prediction = "eps", variance: Variance = "fixed"
) -> tuple[DiffusionConfig, float]:
    """A network's training noise schedule, and the limit to which its predictions are clipped in sampling.

    Raises CheckpointError for a setting that is unknown or not Karlo's.
    """
    wanted: Wanted = {
        "_class_name": ("UnCLIPScheduler", "UnCLIPScheduler"),
        "beta_schedule": ("squaredcos_cap_v2", "squaredcos_cap_v2"),
        "clip_sample": (True, True),
        "prediction_type": ("epsilon", _PREDICTIONS[prediction]),
        "variance_type": ("fixed_small_log", _VARIANCES[variance]),
    }
    settings = scheduler_settings(folder, wanted, _OTHERS, "Karlo")
    steps = int(number(settings, "num_train_timesteps", _STEPS, folder))
    limit = number(settings, "clip_sample_range", _RANGE, folder)
    return DiffusionConfig(prediction, schedule="cosine", variance=variance, steps=steps, spread="ends"), limit


def read_picture_schedule(folder: Path, variance: Variance) -> DiffusionConfig:
    """The schedule of a network that predicts pictures in [-1, 1]. Raises CheckpointError for another limit."""
    found, limit = read_schedule(folder, "eps", variance)
    if limit != 1:
        raise CheckpointError(f"{folder / FILE}: clip_sample_range is {limit}; Karlo's pictures are clipped to 1.")
    return found
