"""A tiny unCLIP for tests: real networks over a random reader and a random CLIP, eight squares to learn from."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pinxit.config import override, to_dict
from pinxit.functional.vectors import dots, unit
from pinxit.models.prior import build_prior
from pinxit.models.unet import UNet
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.unclip.config import UnclipConfig
from pinxit.recipes.unclip.presets import nano
from pinxit.recipes.unclip.space import Space
from pinxit.text.encoders import open_text_encoder
from pinxit.weights.checkpoint import Part, save_checkpoint
from tests.recipes.imagens import talking
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.squares import write_squares
from tests.text.tiny_models import save_tiny

WIDTH, LENGTH = 32, 12  # of the tiny reader


def tiny_config(folder: Path, *changes: str) -> UnclipConfig:
    """The nano preset with its reader, its CLIP and its pictures in `folder`, eight pictures a batch, in 32 bits."""
    files(folder)
    config = nano()
    small: dict[str, Any] = {"components": 6, "embed": 64, "text": WIDTH, "length": LENGTH, "width": 32}
    tokens: dict[str, Any] = {"buckets": 4, "dots": 2}
    priors = tuple(
        replace(one, network=replace(one.network, **small, **(tokens if one.network.buckets else {})))
        for one in config.priors
    )
    config = replace(
        config,
        clip=str(folder / "clip"),
        text=replace(config.text, encoder=str(folder / "reader"), length=LENGTH),
        space=replace(config.space, components=6, embed=64, buckets=4, dots=2),
        priors=priors,
        decoder=replace(config.decoder, unet=replace(config.decoder.unet, image=6, text=WIDTH, masked=0), pictures=8),
        upsamplers=tuple(replace(one, pictures=8) for one in config.upsamplers),
    )
    return override(
        planned(config, images=32, batch=8, warmup=8, precision="fp32"),
        [
            f"data.source={folder / 'squares'}",
            *changes,
        ],
    )


def files(folder: Path) -> Path:
    """A reader, a CLIP and the folder of squares, which is returned."""
    save_tiny(folder / "reader", "bert")
    save_random_checkpoint(folder / "clip")
    (folder / "squares").mkdir()
    return write_squares(folder / "squares")


def planned(config: UnclipConfig, **changes: Any) -> UnclipConfig:
    """The same with fields of every network's plan changed."""
    priors = tuple(replace(one, plan=replace(one.plan, **changes)) for one in config.priors)
    stages = [replace(one, plan=replace(one.plan, **changes)) for one in (config.decoder, *config.upsamplers)]
    return replace(config, priors=priors, decoder=stages[0], upsamplers=tuple(stages[1:]))


def save_random_unclip(folder: Path, *changes: str) -> Path:
    """A checkpoint in `folder` whose networks answer noise; its reader and its CLIP beside it.

    An upsampler without text, from 16 px to 32, is one of its parts.
    """
    config = tiny_config(folder.parent, *changes)
    draw = torch.Generator().manual_seed(0)
    embeddings = unit(torch.randn(64, generator=draw) + torch.randn(200, 64, generator=draw))
    space = Space.fit(config.space, embeddings, dots(embeddings, embeddings.roll(1, 0)))
    parts = {"space": Part(config.space, space.state_dict(), exact=True)}
    for prior in config.priors:
        parts[prior.name] = Part(prior.parts, talking(partial(build_prior, prior.network), 0, prior.name))
    decoder = config.decoder
    parts["decoder"] = Part(decoder.network, talking(partial(UNet, decoder.unet), 0, "decoder"))
    for one in config.upsamplers:
        parts[one.name] = Part(one.network, talking(partial(UNet, one.unet), 0, one.name))
    settings = {
        "sampling": to_dict(config.sampling),
        "imagining": to_dict(config.imagining),
        "text": to_dict(config.text),
        "reader": open_text_encoder(config.text.encoder, length=LENGTH).fingerprint,
        "clip": config.clip,
        "sight": ClipEncoder.open(config.clip, "cpu").fingerprint,
    }
    save_checkpoint(folder, "unclip", parts, settings=settings)
    return folder
