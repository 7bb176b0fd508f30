"""What others have published, by the names of our parts, as an opened checkpoint gives them: where a run may start."""

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
    """Networks of others under our names, in float32."""

    folder: Path  # beside whose weights its tokenizer lies
    recipe: str  # by which they are trained further
    layout: str  # whose they are
    configs: Mapping[str, Any]
    states: Mapping[str, Mapping[str, Tensor]]
    settings: Mapping[str, Any] = field(default_factory=dict)

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

    @cached_property
    def hash(self) -> str:
        """Twelve hex digits that change with any weight, config or setting."""
        import torch

        about = [{name: to_dict(config) for name, config in self.configs.items()}, dict(self.settings)]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for part, state in sorted(self.states.items()):
            for name, tensor in sorted(state.items()):
                digest.update(f"{part}/{name}".encode() + tensor.flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:12]

    @property
    def provenance(self) -> dict[str, Any]:
        """What is known of how they were made: whose they are, and where they lay."""
        return {"published": self.layout, "folder": str(self.folder.resolve())}


Start = Checkpoint | Published


def fitting_of(start: Start) -> Fitting:
    """How its CLIP makes pictures of its size."""
    return from_dict(Fitting, dict(start.settings.get("fitting", {})), f"{start.folder}: fitting")
