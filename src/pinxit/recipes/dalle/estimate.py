"""What a run will cost before it starts: `pinxit train dalle --dry-run`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from pinxit.recipes import estimate
from pinxit.recipes.clip.task import ClipTask
from pinxit.recipes.dalle.presets import DalleConfig
from pinxit.recipes.dalle.ranker import ranker
from pinxit.recipes.dalle.run import TRAINED
from pinxit.recipes.dalle.train_dvae import DVAETask
from pinxit.recipes.dalle.train_transformer import TransformerTask
from pinxit.training.flops import Cost

TASKS: dict[str, Any] = {
    "dvae": DVAETask,
    "transformer": TransformerTask,
    "clip": lambda config: ClipTask(ranker(config)),
}


def stage_cost(config: DalleConfig, stage: str, device: torch.device) -> Cost:
    """Parameters, operations and activations of a stage."""
    return estimate.cost_of(_stage(config, stage), device)


def table(config: DalleConfig, device: str, folder: Path | None = None) -> str:
    """The estimates as plain text; `folder` is a run whose own speed is used where it has been logged."""
    stored = {config.data.size: config.data.pictures + config.data.ranking}
    return estimate.table([_stage(config, name) for name in TRAINED], stored, device, folder)


def _stage(config: DalleConfig, name: str) -> estimate.Stage:
    return estimate.Stage(name, getattr(config.plans, name), partial(TASKS[name], config))
