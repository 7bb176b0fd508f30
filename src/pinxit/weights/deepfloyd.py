"""DeepFloyd IF's stages I and II from the folders that Hugging Face's diffusers writes, as our U-Net.

Nothing is executed and nothing is fetched. Every key of the files is used exactly once, or the reading ends with an
error that names it; one line in the log says what was recognised.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pinxit.errors import CheckpointError, UsageError
from pinxit.models.unet import UNet
from pinxit.weights.deepfloyd_names import diffusers_names, unet_config
from pinxit.weights.json_files import json_object
from pinxit.weights.tensor_files import first_of, read_tensors, some

log = logging.getLogger(__name__)
STEM = "diffusion_pytorch_model"
FILES = tuple(f"{STEM}{end}" for end in (".safetensors", ".safetensors.index.json", ".fp16.safetensors"))


def load_deepfloyd(path: Path, dtype: torch.dtype = torch.float32) -> UNet:
    """The U-Net of the pipeline folder `path` (or of its `unet` folder), on the CPU, in evaluation mode.

    The answer has six channels: the predicted noise and the learned variance; `time` and `augmentation` are steps
    0 .. 999. Raises CheckpointError when a file is missing or unreadable, of another kind of network, or when a key is
    missing, left over or of the wrong shape.
    """
    folder = path / "unet" if (path / "unet").is_dir() else path
    where = folder / "config.json"
    try:
        config = unet_config(json_object(where), str(where))
        with torch.device("meta"):
            model = UNet(config)
    except UsageError as error:
        raise CheckpointError(f"{where}: {error}") from error
    weights = first_of(folder, FILES)
    model.load_state_dict(_ours(model, read_tensors(weights), weights, dtype), assign=True)
    count = sum(p.numel() for p in model.parameters())
    stage = "II" if config.low_res else "I"
    log.info("DeepFloyd IF stage %s from %s: channels %s, %s parameters.", stage, path, config.channels, f"{count:,}")
    return model.eval().requires_grad_(False)


def _ours(model: UNet, tensors: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors under our names."""
    tables = {ours: diffusers_names(ours, model.config) for ours in model.state_dict()}
    expected = {name for names in tables.values() for name in names}
    for what, keys in (("lacks", expected - set(tensors)), ("has unknown", set(tensors) - expected)):
        if keys:
            raise CheckpointError(f"{path} {what} {some(sorted(keys))}; it does not fit its config.json.")
    state = {}
    for ours, like in model.state_dict().items():
        parts = [tensors[name] for name in tables[ours]]
        shape = [len(like) // len(parts), *like.shape[1:]]
        for name, part in zip(tables[ours], parts, strict=True):
            if list(part.shape) != shape:
                raise CheckpointError(f"{path} has {name} of shape {list(part.shape)}, not {shape}.")
        state[ours] = (torch.cat(parts) if len(parts) > 1 else parts[0]).to(dtype).contiguous()
    return state
