"""Opens the argument of `--init-from`: a checkpoint of pinxit, or published weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pinxit.errors import CheckpointError, UsageError
from pinxit.files import read_json
from pinxit.recipes.clip.published import open_clip
from pinxit.recipes.deepfloyd.published import open_deepfloyd
from pinxit.recipes.karlo.published import open_karlo
from pinxit.recipes.published import Start
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.hub import PREFIX, fetch
from pinxit.weights.manifest import MANIFEST
from pinxit.weights.peft_export import ADAPTER, ADAPTER_CONFIG
from pinxit.weights.zoo import find, is_deepfloyd, is_karlo

if TYPE_CHECKING:
    from pinxit.models.layers import Activation


def open_start(names: Sequence[str], activation: Activation | None = None) -> Start:
    """Open a shipped name, a checkpoint folder, published weights (CLIP, DeepFloyd IF, Karlo), or "hub:OWNER/NAME".

    Only DeepFloyd IF may have several `names`, one for each stage. Raises CheckpointError where there are no weights,
    or none of a known format, and UsageError for several of anything else.
    """
    paths = [_path(name) for name in names]
    for path in paths:
        _check_whole(path)
    if all(map(is_deepfloyd, paths)) and not any(map(is_karlo, paths)):
        return open_deepfloyd(paths)
    if len(paths) > 1:
        raise UsageError("--init-from may be repeated for the stages of DeepFloyd IF alone.")
    path = paths[0]
    if (path / MANIFEST).is_file():
        return open_checkpoint(path)
    if is_karlo(path):
        return open_karlo(path)
    return open_clip(path, activation)


def _path(name: str) -> Path:
    if name.startswith(PREFIX):
        return fetch(name)
    return Path(name) if Path(name).is_file() else find(name)


def _check_whole(path: Path) -> None:
    """Raise CheckpointError for a peft adapter, which is no network without the weights that it adapts."""
    about = (path if path.is_dir() else path.parent) / ADAPTER_CONFIG
    if about.is_file() and (path.is_dir() or path.name.startswith(ADAPTER)):
        base = read_json(about, dict, CheckpointError).get("base_model_name_or_path") or "other weights"
        what = f"{path} is an adapter for {base}, and no network by itself"
        raise CheckpointError(f"{what}: give a network, or a checkpoint of the run that the adapter was exported from.")
