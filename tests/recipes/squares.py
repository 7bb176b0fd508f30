"""A folder of flat squares with captions: data that no change of the world can move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pinxit.config import override
from pinxit.pictures import write_png
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.recipes.dalle.presets import nano

COLOURS = {"red": (220, 40, 40), "green": (40, 160, 60), "blue": (40, 70, 220), "yellow": (240, 220, 50)}
PLACES = {"left": 0, "right": 16}


def write_squares(folder: Path) -> Path:
    """Eight pictures of 32 px, each with two captions."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        for side, x in PLACES.items():
            picture = np.full((32, 32, 3), 255, np.uint8)
            picture[8 + 2 * number : 20 + 2 * number, x + 2 : x + 14] = colour
            write_png(folder / f"{name}-{side}.png", picture)
            (folder / f"{name}-{side}.txt").write_text(f"a {name} square on the {side}\n{side}: {name}\n")
    return folder


def small(source: Path | str, *changes: str) -> DalleConfig:
    """The nano preset on `source`, eight pictures a batch and a dozen updates a stage, in 32 bits."""
    config = override(nano(), [f"data.source={source}", "data.pictures=8", "data.ranking=0"])
    plans = {
        stage: replace(plan, images=96, batch=8, warmup=32, log_every=8, precision="fp32")
        for stage, plan in (
            ("dvae", config.plans.dvae),
            ("transformer", config.plans.transformer),
            ("clip", config.plans.clip),
        )
    }
    return override(replace(config, plans=replace(config.plans, **plans)), changes)
