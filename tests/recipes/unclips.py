"""A tiny unCLIP for tests: real networks over a random reader and a random CLIP, eight squares to learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pinxit.config import override
from pinxit.recipes.unclip.config import UnclipConfig
from pinxit.recipes.unclip.presets import nano
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.squares import write_squares
from tests.text.tiny_models import save_tiny

WIDTH, LENGTH = 32, 12  # of the tiny reader


def tiny_config(folder: Path, *changes: str) -> UnclipConfig:
    """The nano preset with its reader, its CLIP and its pictures in `folder`, eight pictures a batch, in 32 bits."""
    files(folder)
    config = nano()
    small = {"components": 6, "embed": 64, "text": WIDTH, "length": LENGTH, "width": 32}
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
        decoder=replace(config.decoder, unet=replace(config.decoder.unet, image=6, text=WIDTH), pictures=8),
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
    return replace(config, priors=priors, decoder=replace(config.decoder, plan=replace(config.decoder.plan, **changes)))
