"""DeepFloyd IF's stages as initial weights of `pinxit train imagen --init-from`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pinxit.config import to_dict
from pinxit.errors import CheckpointError
from pinxit.functional.guidance import Thresholding
from pinxit.recipes.deepfloyd.open import LARGE, TEXT_TOKENS, StageFolder
from pinxit.recipes.diffusion.config import StageConfig, TextEncoderConfig
from pinxit.recipes.published import Published
from pinxit.text.encoders import located
from pinxit.weights.deepfloyd import load_deepfloyd

RECIPE, LAYOUT = "imagen", "DeepFloyd IF"
STAGES = {3: "base", 6: "upsampler"}  # parts by the input channels of the unet


def open_deepfloyd(folders: Sequence[Path]) -> Published:
    """Open stage I, or stage I and then stage II, each from its own folder.

    Raises CheckpointError for other folders, and for a stage II whose predictions are not clipped to [-1, 1].
    """
    if len(folders) > len(STAGES):
        raise CheckpointError(f"{folders[-1]} is one folder too many: DeepFloyd IF is stage I and stage II here.")
    stages = [StageFolder.read(folder, channels) for folder, channels in zip(folders, STAGES, strict=False)]
    base = stages[0].folder
    for stage in stages[1:]:
        if stage.thresholding.kind == "dynamic" and stage.thresholding.max_threshold == 1:
            continue  # dynamic thresholding with a maximum of 1 is plain clipping to [-1, 1]
        if stage.thresholding != Thresholding():
            message = f"{stage.folder}: scheduler: sample_max_value must be 1"
            raise CheckpointError(f"{message}, as DeepFloyd IF's stage II has.")
    unets = {name: load_deepfloyd(stage.folder, None) for name, stage in zip(STAGES.values(), stages, strict=False)}
    configs: dict[str, StageConfig] = {
        name: stage.config(unet) for (name, unet), stage in zip(unets.items(), stages, strict=True)
    }
    text = TextEncoderConfig(encoder=located(str(base)), length=TEXT_TOKENS, manner="deepfloyd")
    sampling = replace(
        stages[0].sampling,
        upsampler_steps=LARGE.upsampler_steps,
        upsampler_guidance=LARGE.upsampler_guidance,
        augmentation=LARGE.augmentation,
    )
    states = {name: unet.state_dict() for name, unet in unets.items()}
    settings = {"text": to_dict(text), "sampling": to_dict(sampling)}
    places = {name: stage.folder for name, stage in zip(STAGES.values(), stages, strict=False)}
    return Published(base, RECIPE, LAYOUT, configs, states, settings, places)
