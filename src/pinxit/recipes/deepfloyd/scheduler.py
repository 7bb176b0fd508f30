"""What scheduler_config.json says of noise, steps and thresholds: read and checked, never executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.functional.guidance import Thresholding
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.weights.json_files import json_object

FILE = "scheduler_config.json"
_NOISE: dict[str, tuple[Any, Any]] = {  # setting -> what it is where nothing is said, what DeepFloyd IF has
    "_class_name": ("DDPMScheduler", "DDPMScheduler"),
    "beta_schedule": ("linear", "squaredcos_cap_v2"),
    "trained_betas": (None, None),
    "rescale_betas_zero_snr": (False, False),
}
_STEPS: dict[str, tuple[Any, Any]] = {
    "prediction_type": ("epsilon", "epsilon"),
    "variance_type": ("fixed_small", "learned_range"),
    "timestep_spacing": ("leading", "leading"),
    "steps_offset": (0, 0),
}
_NUMBERS: dict[str, tuple[float, float, float]] = {  # setting -> where nothing is said, least, greatest
    "num_train_timesteps": (1000, 2, 100_000),
    "dynamic_thresholding_ratio": (0.995, 1e-6, 1),
    "sample_max_value": (1.0, 1, 1e6),
}
_OTHERS = (
    "beta_start",
    "beta_end",
    "thresholding",
    "clip_sample",
    "clip_sample_range",
)  # the betas: of other schedules


def read_schedule(folder: Path) -> tuple[DiffusionConfig, Thresholding]:
    """A stage's scheduler: how it was trained, and what becomes of predictions on the way down.

    Raises CheckpointError for a setting that is unknown or not DeepFloyd IF's.
    """
    settings = _settings(folder, _NOISE | _STEPS)
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
    """The scheduler that noises what stage II enlarges, of which only the noise matters. Raises as `read_schedule`."""
    return DiffusionConfig("eps", schedule="cosine", steps=_steps(_settings(folder, _NOISE), folder))


def _steps(settings: dict[str, Any], folder: Path) -> int:
    return int(_number(settings, "num_train_timesteps", folder))


def _settings(folder: Path, expected: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    path = folder / FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder.parent} has no {folder.name}/{FILE}: give the whole folder as diffusers writes it."
        )
    settings = json_object(path)
    known = (*_NOISE, *_STEPS, *_NUMBERS, *_OTHERS)
    for name in settings:
        if name not in known and not name.startswith("_"):
            raise CheckpointError(f"{path} has the setting {name}, which pinxit does not know.")
    for name, (silent, value) in expected.items():
        if settings.get(name, silent) != value:
            raise CheckpointError(f"{path}: {name} is {settings.get(name, silent)}; DeepFloyd IF has {value}.")
    return settings


def _number(settings: dict[str, Any], name: str, folder: Path) -> float:
    silent, least, most = _NUMBERS[name]
    value = settings.get(name, silent)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise CheckpointError(f"{folder / FILE}: {name} is {value!r}; it must be a number from {least:g} to {most:g}.")
    return value
