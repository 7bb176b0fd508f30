"""Reads Karlo's networks from folders in diffusers' layout: prior, decoder, and two super-resolution networks.

Nothing is executed and nothing is downloaded. Every key of the files is used exactly once, or reading ends with an
error that names it; one line in the log says what was recognised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pinxit.errors import CheckpointError
from pinxit.models.prior import DiffusionPrior, PriorConfig
from pinxit.models.unet import UNet, UNetConfig
from pinxit.weights.diffusers_unet import diffusers_names, reading
from pinxit.weights.json_files import json_object
from pinxit.weights.karlo_names import MEAN, NOTHING, SPREAD, decoder_names, prior_names
from pinxit.weights.karlo_settings import decoder_config, prior_config, super_config
from pinxit.weights.renaming import renamed
from pinxit.weights.tensor_files import DIFFUSERS_FILES, first_of, read_tensors

log = logging.getLogger(__name__)
PRIOR, DECODER, PROJECTION = "prior", "decoder", "text_proj"
SUPERS = ("super_res_first", "super_res_last")
CONFIG = "config.json"
TOKENS = "conditioning.image.tokens."  # the layer that makes tokens of a picture embedding
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class KarloPrior:
    """The prior, which predicts standardised embeddings x, with their mean and deviation: z = mean + spread * x."""

    network: DiffusionPrior
    mean: Tensor  # [E]
    spread: Tensor  # [E], standard deviation


@dataclass(frozen=True)
class KarloDecoder:
    """The decoder, with the learned vector that replaces the picture embedding in the unconditional branch."""

    network: UNet
    nothing: Tensor  # [E]


def load_prior(path: Path, dtype: torch.dtype | None = torch.float32) -> KarloPrior:
    """The prior of the pipeline folder `path`, on the CPU, in evaluation mode; `dtype`: see `renamed`.

    Raises CheckpointError when a file is missing or unreadable, of another kind of network, or when a key is missing,
    unknown or of the wrong shape; so do the other loaders here.
    """
    folder = path / PRIOR
    config = _config(folder, prior_config)
    model, tensors = _built(lambda: DiffusionPrior(config)), _tensors(folder)
    names = {ours: prior_names(ours) for ours in model.state_dict()} | {name: (name,) for name in (MEAN, SPREAD)}
    wanted = model.state_dict() | {name: torch.empty(config.embed) for name in (MEAN, SPREAD)}
    state = renamed(wanted, names, tensors, folder, dtype)
    mean, spread = (state.pop(name).float() for name in (MEAN, SPREAD))
    if not (spread > 0).all():
        raise CheckpointError(f"{folder} has a {SPREAD} that is no spread: it is damaged.")
    return KarloPrior(_filled(model, state, folder), mean, spread)


def load_decoder(path: Path, dtype: torch.dtype | None = torch.float32) -> KarloDecoder:
    """The decoder of the pipeline folder `path`: its U-Net, and `text_proj`, which prepares its conditions.

    Its output has six channels: the predicted noise and the learned variance.
    """
    unet, projection = path / DECODER, path / PROJECTION
    projection_settings = _described(projection)
    where = str(projection / CONFIG)
    config = _config(unet, lambda own, place: decoder_config(own, projection_settings, (place, where)))
    model = _built(lambda: UNet(config))
    wanted = model.state_dict()
    of_unet, of_projection = decoder_names(config, wanted)
    state = renamed(wanted, of_unet, _tensors(unet), unet, dtype)
    wanted |= {NOTHING: torch.empty(config.image)}
    state |= renamed(wanted, of_projection | {NOTHING: (NOTHING,)}, _tensors(projection), projection, dtype)
    nothing = state.pop(NOTHING).float()
    state |= {name: by_tokens(state[name], config) for name in state if name.startswith(TOKENS)}
    return KarloDecoder(_filled(model, state, unet), nothing)


def by_tokens(rows: Tensor, config: UNetConfig) -> Tensor:
    """Rows [K D, ...] of the layer that makes tokens, from Karlo's order (channel by channel) to ours (by token)."""
    width, tokens = config.text_width, config.image_tokens
    return rows.view(width, tokens, -1).transpose(0, 1).reshape(rows.shape).contiguous()


def by_channels(rows: Tensor, config: UNetConfig) -> Tensor:
    """The inverse of `by_tokens`."""
    width, tokens = config.text_width, config.image_tokens
    return rows.view(tokens, width, -1).transpose(0, 1).reshape(rows.shape).contiguous()


def load_supers(path: Path, dtype: torch.dtype | None = torch.float32) -> tuple[UNet, UNet]:
    """The super-resolution networks of the pipeline folder `path`: for all steps but the last, and for the last.

    Both predict the noise.
    """
    first, last = (_super(path / name, dtype) for name in SUPERS)
    return first, last


def _super(folder: Path, dtype: torch.dtype | None) -> UNet:
    config = _config(folder, super_config)
    model = _built(lambda: UNet(config))
    names = {ours: diffusers_names(ours, config) for ours in model.state_dict()}
    return _filled(model, renamed(model.state_dict(), names, _tensors(folder), folder, dtype), folder)


Config = TypeVar("Config", PriorConfig, UNetConfig)


def _config(folder: Path, read: Callable[[dict[str, Any], str], Config]) -> Config:
    with reading(folder / CONFIG):
        return read(_described(folder), str(folder / CONFIG))


def _described(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder.parent} has no {folder.name}/{CONFIG}: give the whole folder of Karlo.")
    return json_object(folder / CONFIG)


def _built(build: Callable[[], Model]) -> Model:
    """The network on the meta device, waiting for its weights."""
    with torch.device("meta"):
        return build()


def _tensors(folder: Path) -> dict[str, Tensor]:
    return read_tensors(first_of(folder, DIFFUSERS_FILES))


def _filled(model: Model, state: dict[str, Tensor], folder: Path) -> Model:
    model.load_state_dict(state, assign=True)
    count = sum(p.numel() for p in model.parameters())
    log.info("Karlo's %s from %s: %s parameters.", folder.name, folder.parent, f"{count:,}")
    return model.eval().requires_grad_(False)
