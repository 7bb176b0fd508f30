"""What a run will cost before it starts: `pinxit train imagen --dry-run`. The frozen reader's work is not counted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pinxit.recipes import estimate
from pinxit.recipes.imagen.config import ImagenConfig
from pinxit.recipes.imagen.run import TRAINED
from pinxit.recipes.imagen.task import DiffusionTask


def table(config: ImagenConfig, device: str, folder: Path | None = None) -> str:
    """The estimates as plain text; `folder` is a run whose own speed is used where it has been logged."""
    stored = {config.base.size: config.data.pictures, config.upsampler.size: config.data.large}
    return estimate.table(stages(config), stored, device, folder)


def stages(config: ImagenConfig) -> list[estimate.Stage]:
    """What trains, with text of the width that each network wants."""
    found = []
    for name in TRAINED:
        stage = getattr(config, name)
        shape = (config.text.length, stage.unet.text)
        build = partial(DiffusionTask, name, stage, config.seed, shape)
        found.append(estimate.Stage(name, getattr(config.plans, name), build))
    return found
