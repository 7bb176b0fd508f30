"""An Imagen with random weights for tests: real networks over a tiny random reader, nothing worth seeing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pinxit.config import override, to_dict
from pinxit.models.unet import UNet
from pinxit.recipes.imagen.config import ImagenConfig
from pinxit.recipes.imagen.presets import nano
from pinxit.text.encoders import open_text_encoder
from pinxit.training.draws import seeded
from pinxit.weights.checkpoint import Part, save_checkpoint
from tests.recipes.painters import save_random_checkpoint
from tests.text.tiny_models import save_tiny

WIDTH, LENGTH = 32, 12  # of the tiny reader


def tiny_config(folder: Path, *changes: str) -> ImagenConfig:
    """The nano preset, read by a random BERT and ranked by a random CLIP, both written into `folder`."""
    save_tiny(folder / "reader", "bert")
    save_random_checkpoint(folder / "ranker")
    usual = [
        f"text.encoder={folder / 'reader'}",
        f"text.length={LENGTH}",
        f"stages.base.unet.text={WIDTH}",
        f"stages.upsampler.unet.text={WIDTH}",
        f"ranker={folder / 'ranker'}",
    ]
    return override(nano(), [*usual, *changes])


def planned(config: ImagenConfig, **changes: Any) -> ImagenConfig:
    """The same with fields of every network's plan changed."""
    return replace(config, stages=tuple(replace(one, plan=replace(one.plan, **changes)) for one in config.stages))


def with_a_third(config: ImagenConfig) -> ImagenConfig:
    """The same cascade with one upsampler more, of twice the size."""
    last = config.stages[-1]
    third = replace(last, name="second_upsampler", low=last.size, size=2 * last.size, crop=last.size)
    return replace(config, stages=(*config.stages, third))


def save_random_imagen(folder: Path, seed: int = 0, *changes: str, third: bool = False) -> Path:
    """A checkpoint in `folder`; its reader and ranker beside it."""
    config = tiny_config(folder.parent, *changes)
    config = with_a_third(config) if third else config
    parts = {
        stage.name: Part(stage.network, talking(partial(UNet, stage.unet), seed, stage.name)) for stage in config.stages
    }
    settings = {
        "sampling": to_dict(config.sampling),
        "text": to_dict(config.text),
        "reader": open_text_encoder(config.text.encoder, length=LENGTH).fingerprint,
        "ranker": config.ranker,
    }
    save_checkpoint(folder, "imagen", parts, settings=settings)
    return folder


def talking(make: Callable[[], nn.Module], seed: int, name: str) -> dict[str, Tensor]:
    """Weights whose zero-initialised layers are noise instead: an untrained net answers nothing, whatever it sees."""

    def build() -> nn.Module:
        net = make()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return net

    return seeded(build, seed, name).state_dict()
