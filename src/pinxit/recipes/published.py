"""Weights that others have published, opened with the interface of a checkpoint, so that a run may start from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pinxit.config import from_dict, to_dict
from pinxit.types import Fitting
from pinxit.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """Published networks with our tensor names, in the types of their files."""

    folder: Path  # holds the weights and the tokenizer
    recipe: str  # that trains them further
    layout: str  # whose format they came in
    configs: Mapping[str, Any]
    states: Mapping[str, Mapping[str, Tensor]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)  # of its networks, where each has one of its own
    constants: Mapping[str, Tensor] = field(default_factory=dict)  # what its networks were trained beside

    @property
    def parts(self) -> Mapping[str, Any]:
        """Its networks by name."""
        return self.configs

    def config(self, part: str, kind: type[T]) -> T:
        """The config of `part`, which is a `kind`."""
        found = self.configs[part]
        assert isinstance(found, kind)
        return found

    def state(self, part: str) -> dict[str, Tensor]:
        """Every tensor of `part`."""
        return dict(self.states[part])

    @property
    def hash(self) -> str:
        """Twelve hex digits that change with any weight, constant, config or setting, but not with their type."""
        return self._hashes[1]

    def known_as(self, name: str) -> bool:
        """Whether that is its hash, or the one that earlier versions gave it, of all but the constants."""
        return name in self._hashes

    @cached_property
    def _hashes(self) -> tuple[str, str]:
        """Without the constants, and with them."""
        import torch

        def add(name: str, tensor: Tensor) -> None:
            digest.update(name.encode() + tensor.float().flatten().view(torch.uint8).numpy().tobytes())

        about = [{name: to_dict(config) for name, config in self.configs.items()}, dict(self.settings)]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for part, state in sorted(self.states.items()):
            for name, tensor in sorted(state.items()):
                add(f"{part}/{name}", tensor)
        before = digest.hexdigest()[:12]
        for name, tensor in sorted(self.constants.items()):
            add(name, tensor)
        return before, digest.hexdigest()[:12]

    @property
    def provenance(self) -> dict[str, Any]:
        """What is known of their origin: the format they were published in, and the folders they were read from."""
        folders = {name: str(folder.resolve()) for name, folder in self.folders.items()}
        return {"published": self.layout, "folder": str(self.folder.resolve()), "folders": folders}


Start = Checkpoint | Published


def fitting_of(start: Start) -> Fitting:
    """How the pictures for its CLIP are resized and cropped."""
    return from_dict(Fitting, dict(start.settings.get("fitting", {})), f"{start.folder}: fitting")
