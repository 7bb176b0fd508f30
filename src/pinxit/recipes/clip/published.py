"""Published CLIPs of others as starting points of `pinxit train clip --init-from`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pinxit.config import to_dict
from pinxit.recipes.clip.run import RECIPE
from pinxit.recipes.published import Published
from pinxit.weights.public_clip import load_public_clip

if TYPE_CHECKING:
    from pinxit.models.layers import Activation


def open_clip(path: Path, activation: Activation | None = None) -> Published:
    """The CLIP at `path`, a file or a folder. Raises CheckpointError as `load_public_clip` does."""
    model = load_public_clip(path, activation, None)
    folder = path if path.is_dir() else path.parent
    settings = {"fitting": to_dict(model.fitting)}
    return Published(folder, RECIPE, "a CLIP of others", {"clip": model.config}, {"clip": model.state_dict()}, settings)
