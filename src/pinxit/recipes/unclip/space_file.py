"""The files of a fitted space in a run.

space.safetensors has its tensors; space.json its config, the CLIP's fingerprint, and the explained variance.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pinxit.config import from_dict, to_dict
from pinxit.errors import DataError
from pinxit.files import atomic_file, read_json, write_json
from pinxit.recipes.unclip.space import Space, SpaceConfig
from pinxit.schema import Share

if TYPE_CHECKING:
    from torch import Tensor

FILE, TENSORS = "space.json", "space.safetensors"


class About(TypedDict):
    """space.json."""

    config: dict[str, Any]
    fingerprint: str  # of the CLIP
    kept: Share  # explained variance


def write_space(folder: Path, space: Space, fingerprint: str, kept: float) -> None:
    """`fingerprint`: of the CLIP; `kept`: the fraction of its embeddings' variance that the space explains."""
    state: dict[str, Tensor] = {name: tensor.contiguous() for name, tensor in space.state_dict().items()}
    with atomic_file(folder / TENSORS) as temporary:
        save_file(state, temporary)
    write_json(folder / FILE, {"config": to_dict(space.config), "fingerprint": fingerprint, "kept": kept})


def read_space(folder: Path, fingerprint: str) -> Space:
    """Raises DataError if the space is missing, damaged, or of another CLIP."""
    stored = read_about(folder)
    if stored["fingerprint"] != fingerprint:
        raise DataError(
            f"{folder} was fitted on embeddings of CLIP {stored['fingerprint']}, not of {fingerprint}; "
            "take the old CLIP or train into another folder."
        )
    space = Space(from_dict(SpaceConfig, stored["config"], str(folder / FILE)))
    try:
        space.load_state_dict(load_file(folder / TENSORS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"the space {folder} is damaged ({error}); delete and fit it again.") from error
    return space


def read_about(folder: Path) -> About:
    """The content of space.json. Raises DataError if it is missing or damaged."""
    return read_json(folder / FILE, About, DataError, "delete the folder and fit the space again")
