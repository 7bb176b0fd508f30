"""DeepFloyd IF's scheduler_config.json as our noise schedule and thresholding: read and checked, never executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.functional.guidance import Thresholding
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.weights.schedulers import FILE, Wanted, number, scheduler_settings

_NOISE: Wanted = {  # setting -> diffusers' default, DeepFloyd IF's value
    "_class_name": ("DDPMScheduler", "DDPMScheduler"),
    "beta_schedule": ("linear", "squaredcos_cap_v2"),
    "trained_betas": (None, None),
    "rescale_betas_zero_snr": (False, False),
}
_STEPS: Wanted = {
    "prediction_type": ("epsilon", "epsilon"),
    "variance_type": ("fixed_small", "learned_range"),
    "timestep_spacing": ("leading", "leading"),
    "steps_offset": (0, 0),
}
_NUMBERS: dict[str, tuple[float, float, float]] = {  # setting -> default, least, greatest
    "num_train_timesteps": (1000, 2, 100_000),
    "dynamic_thresholding_ratio": (0.995, 1e-6, 1),
    "sample_max_value": (1.0, 1, 1e6),
}
_OTHERS = (
    "beta_start",  # like beta_end, of other noise schedules than the cosine one
    "beta_end",
    "thresholding",
    "clip_sample",
    "clip_sample_range",
)


def read_schedule(folder: Path) -> tuple[DiffusionConfig, Thresholding]:
    """The scheduler of a stage: its training noise schedule, and the thresholding of predictions in sampling.

    Raises CheckpointError for a setting that is unknown or not DeepFloyd IF's.
    """
    settings = _settings(folder, {**_NOISE, **_STEPS})
    if settings.get("thresholding", False):
        ratio, most = (_number(settings, name, folder) for name in ("dynamic_thresholding_ratio", "sample_max_value"))
        about = Thresholding("dynamic", percentile=ratio, max_threshold=most)
    elif settings.get("clip_sample", True) and settings.get("clip_sample_range", 1.0) == 1:
        about = Thresholding()
    else:
        raise CheckpointError(
            f"{folder / FILE}: predictions are neither thresholded nor clipped to [-1, 1]; set thresholding."
        )
    return DiffusionConfig("eps", schedule="cosine", variance="learned", steps=_steps(settings, folder)), about


def read_noising(folder: Path) -> DiffusionConfig:
    """The noise schedule of stage II's low-resolution input (noise conditioning augmentation).

    Raises CheckpointError as `read_schedule` does.
    """
    return DiffusionConfig("eps", schedule="cosine", steps=_steps(_settings(folder, _NOISE), folder))


def _steps(settings: dict[str, Any], folder: Path) -> int:
    return int(_number(settings, "num_train_timesteps", folder))


def _settings(folder: Path, expected: Wanted) -> dict[str, Any]:
    return scheduler_settings(folder, expected, (*_NOISE, *_STEPS, *_NUMBERS, *_OTHERS), "DeepFloyd IF")


def _number(settings: dict[str, Any], name: str, folder: Path) -> float:
    return number(settings, name, _NUMBERS[name], folder)
