"""Writes the checkpoint of a run: a copy of the published folder, with the fine-tuned weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinxit.files import atomic_folder, write_text
from pinxit.recipes.karlo.run import KarloRun
from pinxit.training import state as states
from pinxit.weights.karlo import PRIOR
from pinxit.weights.karlo_export import save_karlo
from pinxit.weights.manifest import CARD


def write_checkpoint(run: KarloRun) -> None:
    """Write RUN/checkpoint: the published folder with the averaged weights of the trained networks."""
    with atomic_folder(run.path("checkpoint")) as folder:
        save_karlo(Path(run.config.base), trained_states(run), folder)
        write_text(folder / CARD, _card(run))


def trained_states(run: KarloRun) -> dict[str, Any]:
    """(averaged weights, config of a U-Net or None) of each trained network, as `save_karlo` takes them."""
    return {
        name: (
            states.read_weights(run.path(name), name),
            None if name == PRIOR else run.stage_config(name).unet,
        )
        for name in run.trained
    }


def _card(run: KarloRun) -> str:
    seen = [f"{name}: {states.read_progress(run.path(name)).images:,} pictures seen" for name in run.trained]
    how = [f"LoRA of rank {run.plan(name).lora}" if run.plan(name).lora else "all weights" for name in run.trained]
    lines = "\n".join(f"- {one} ({way})" for one, way in zip(seen, how, strict=True))
    return f"""# A Karlo for {run.config.data.source}

The networks of {Path(run.config.base).name}, of which `pinxit train unclip` has fine-tuned:

{lines}

Everything else in this folder is as it was published, under its licence.

    pinxit paint "a sentence" --checkpoint FOLDER
"""
