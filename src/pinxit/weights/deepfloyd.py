"""Reads DeepFloyd IF's stages I and II from folders in diffusers' layout into our U-Net.

Nothing is executed and nothing is downloaded. Every key of the files is used exactly once, or reading ends with an
error that names it; one line in the log says what was recognised.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from pinxit.models.unet import UNet
from pinxit.weights.deepfloyd_names import unet_config
from pinxit.weights.diffusers_unet import diffusers_names, reading
from pinxit.weights.json_files import json_object
from pinxit.weights.renaming import renamed
from pinxit.weights.tensor_files import DIFFUSERS_FILES, first_of, read_tensors

log = logging.getLogger(__name__)


def load_deepfloyd(path: Path, dtype: torch.dtype | None = torch.float32) -> UNet:
    """The U-Net of the pipeline folder `path` (or of its `unet` folder), on the CPU, in evaluation mode.

    Its output has six channels: the predicted noise and the learned variance; `time` and `augmentation` are steps
    0 .. 999. `dtype`: see `renamed`. Raises CheckpointError when a file is missing or unreadable, of another kind of
    network, or when a key is missing, left over or of the wrong shape.
    """
    folder = path / "unet" if (path / "unet").is_dir() else path
    where = folder / "config.json"
    with reading(where), torch.device("meta"):
        config = unet_config(json_object(where), str(where))
        model = UNet(config)
    weights = first_of(folder, DIFFUSERS_FILES)
    names = {ours: diffusers_names(ours, config) for ours in model.state_dict()}
    model.load_state_dict(renamed(model.state_dict(), names, read_tensors(weights), weights, dtype), assign=True)
    count = sum(p.numel() for p in model.parameters())
    stage = "II" if config.low_res else "I"
    log.info("DeepFloyd IF stage %s from %s: channels %s, %s parameters.", stage, path, config.channels, f"{count:,}")
    return model.eval().requires_grad_(False)
