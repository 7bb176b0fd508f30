"""Exports a trained DeepFloyd IF in diffusers' layout: the folders unet and scheduler of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pinxit.errors import CheckpointError
from pinxit.files import write_json
from pinxit.functional.guidance import Thresholding
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.weights.deepfloyd_export import save_deepfloyd
from pinxit.weights.schedulers import FILE

MOST = 1e6  # for thresholds, as JSON has no infinity


def save_stage(state: Mapping[str, Tensor], config: StageConfig, sampling: SamplingConfig, folder: Path) -> None:
    """Write unet, scheduler and, of an upsampler stage, image_noising_scheduler into `folder`.

    Raises CheckpointError for a network or a noise schedule that DeepFloyd IF cannot have.
    """
    about = config.diffusion
    if (about.prediction, about.schedule, about.variance) != ("eps", "cosine", "learned") or about.spread != "strides":
        raise CheckpointError("diffusers' DeepFloyd IF predicts noise and a learned variance on a cosine schedule.")
    if config.low and not config.noised:
        raise CheckpointError("diffusers' DeepFloyd IF noises smaller pictures on a discrete schedule: set noised.")
    save_deepfloyd(state, config.unet, config.size, folder / "unet")
    thresholding = (
        sampling.thresholding(sampling.percentile)
        if not config.low
        else Thresholding("dynamic", percentile=0.95, max_threshold=1.0)
    )
    write_json(folder / "scheduler" / FILE, _scheduler(about.steps) | _prediction(thresholding))
    if config.noised:
        write_json(folder / "image_noising_scheduler" / FILE, _scheduler(config.noised))


def _scheduler(steps: int) -> dict[str, Any]:
    return {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": steps}


def _prediction(thresholding: Thresholding) -> dict[str, Any]:
    settings: dict[str, Any] = {"prediction_type": "epsilon", "variance_type": "learned_range"}
    if thresholding.kind == "dynamic":
        settings |= {"thresholding": True, "dynamic_thresholding_ratio": thresholding.percentile}
        settings["sample_max_value"] = min(thresholding.max_threshold, MOST)
    return settings
