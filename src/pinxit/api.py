"""The Python front door: `pinxit.load("tiny").paint("a green triangle")`, `pinxit.load_clip("tiny").classify(...)`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pinxit.errors import CheckpointError
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.zoo import find

if TYPE_CHECKING:
    from pinxit.models.layers import Activation
    from pinxit.recipes.clip.engine import Engine, Precision
    from pinxit.recipes.clip.front import Clip
    from pinxit.recipes.dalle.painter import DallePainter


def load(checkpoint: str | Path = "tiny", *, device: str = "auto") -> DallePainter:
    """Open a painter: a shipped checkpoint's name or a checkpoint folder.

    `device` is "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
    Raises CheckpointError when the checkpoint is missing, damaged or of an unknown recipe.
    """
    opened = open_checkpoint(find(checkpoint))
    if opened.recipe != "dalle":
        raise CheckpointError(f"{opened.folder} holds a {opened.recipe} checkpoint, which does not paint.")
    from pinxit.recipes.dalle.painter import DallePainter

    return DallePainter.from_checkpoint(opened, name=str(checkpoint), device=device)


def load_clip(
    checkpoint: str | Path = "tiny",
    *,
    device: str = "auto",
    activation: Activation | None = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
) -> Clip:
    """Open a CLIP: a shipped name, a checkpoint folder, published weights (file or folder), or "hub:OWNER/NAME".

    Only the last one may use the network. `activation` is needed where the weights do not tell theirs ("gelu" or
    "quickgelu"); `engine` "auto" is OpenVINO on a CPU where it is installed, else PyTorch; `precision` "bf16" is about
    twice as fast on CPUs that have it. Raises CheckpointError when there is none or it cannot be read.
    """
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.recipes.clip.front import Clip

    return Clip(ClipEncoder.open(checkpoint, device, activation, engine, precision))
